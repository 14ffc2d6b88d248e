//! The long request of a connection: load, receipts and the drain go out, acknowledgements come in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cocoon_uplink_wire::MessageDecoder;
use cocoon_uplink_wire::event::{EVENT_BYTES_MAX, GatewayEvent, WorkerEvent};
use cocoon_uplink_wire::message::encode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ReceiptOutbox;
use crate::engine::{Engine, EngineLoad};

/// How often the load is looked at; it is sent when it changed.
const LOAD_INTERVAL: Duration = Duration::from_millis(50);
/// An unchanged load is repeated this often.
const LOAD_REPEAT: Duration = Duration::from_secs(5);

/// One run of the events request.
pub(super) struct Events {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) outbox: Arc<ReceiptOutbox>,
    pub(super) queue: u32,
    /// Asks to announce the drain.
    pub(super) soft: CancellationToken,
    /// Ends the answer.
    pub(super) finished: CancellationToken,
    pub(super) out: mpsc::Sender<Bytes>,
}

impl Events {
    /// Runs until the gateway closes the request, breaks the protocol, or the drain is over.
    pub(super) async fn run(self, acknowledgements: Incoming) {
        tokio::select! {
            () = self.send() => {}
            () = self.receive(acknowledgements) => {}
            () = self.finished.cancelled() => {}
        }
    }

    async fn send(&self) {
        let mut receipts = self.outbox.subscribe();
        let mut ticks = interval(LOAD_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sent: Option<(EngineLoad, Instant)> = None;
        let mut announced = false;
        loop {
            let event = tokio::select! {
                () = self.soft.cancelled(), if !announced => {
                    announced = true;
                    WorkerEvent::Draining
                }
                receipt = receipts.next() => WorkerEvent::Receipt(receipt.to_bytes()),
                _ = ticks.tick() => {
                    let load = self.engine.load();
                    if sent.is_some_and(|(last, at)| last == load && at.elapsed() < LOAD_REPEAT) {
                        continue;
                    }
                    sent = Some((load, Instant::now()));
                    let EngineLoad { running, waiting, permits } = load;
                    WorkerEvent::Load { running, waiting, permits, queue: self.queue }
                }
            };
            if self.out.send(encode(&event)).await.is_err() {
                return;
            }
        }
    }

    async fn receive(&self, mut acknowledgements: Incoming) {
        let mut decoder = MessageDecoder::new(EVENT_BYTES_MAX);
        while let Some(Ok(frame)) = acknowledgements.frame().await {
            let Some(chunk) = frame.data_ref() else { continue };
            decoder.push(chunk);
            loop {
                match decoder.next_message() {
                    Ok(Some(GatewayEvent::Ack { request_ids })) => {
                        self.outbox.acknowledged(&request_ids);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the gateway's events are not valid");
                        return;
                    }
                }
            }
        }
    }
}
