//! An answer that is not streamed: collected, settled, then sent with its length.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use cocoon_store::StoreError;

use super::error::DispatchError;
use super::relay::Fault;
use super::stream::{Broken, Event, Stream};
use super::ticket::Verdict;

/// The body of the whole answer. Dropped in between, the stream's ticket closes as client gone.
pub(crate) async fn collect(mut stream: Stream, bytes_max: usize) -> Result<Bytes, DispatchError> {
    let mut parts = Parts::default();
    loop {
        match poll_fn(|cx| stream.poll(cx)).await {
            Event::KeepAlive => {}
            Event::Forward(payload) => {
                if let Err(fault) = parts.push(payload, bytes_max) {
                    return Err(broken_off(stream, Broken::Fault(fault)).await);
                }
            }
            Event::Last(payload) => {
                if let Err(fault) = parts.push(payload, bytes_max) {
                    return Err(broken_off(stream, Broken::Fault(fault)).await);
                }
                let (frames, ticket) = stream.into_ticket();
                let closing = ticket.close(Verdict::Completed).await;
                // Kept until here, so that the worker's stream ends by itself.
                drop(frames);
                return match closing {
                    Ok(closing) => closing.released().map(|()| parts.join()),
                    Err(_) => Err(StoreError::Closed.into()),
                };
            }
            Event::Broken(broken) => return Err(broken_off(stream, broken).await),
        }
    }
}

/// Settles a broken answer, so that the reservation is back before the client hears of it.
async fn broken_off(stream: Stream, broken: Broken) -> DispatchError {
    drop(stream.break_off(&broken).await);
    broken.into()
}

/// Payloads, joined only where there is more than one.
#[derive(Default)]
struct Parts {
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Parts {
    fn push(&mut self, payload: Bytes, bytes_max: usize) -> Result<(), Fault> {
        self.bytes += payload.len();
        if self.bytes > bytes_max {
            return Err(Fault::AnswerTooLong { limit: bytes_max });
        }
        self.parts.push(payload);
        Ok(())
    }

    fn join(mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.parts.swap_remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.bytes);
        for part in &self.parts {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }
}
