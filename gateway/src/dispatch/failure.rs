//! How a stream tells that it failed, in the shape of its endpoint.
//!
//! A Responses stream has events for it: `error`, which every client takes for a failure, then
//! `response.failed`, a proper end of that protocol, so the stream ends cleanly. Chat and plain
//! completions have none: their error event is followed by a broken connection, because a stream
//! that ends cleanly counts as whole there.
//! Source: the failure matrix of the clients in use, whose oldest look at one of the three only.

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::ErrorObject;
use cocoon_openai_wire::responses::{self, Echo, Event, Response};
use cocoon_openai_wire::sse;
use cocoon_primitives::{ModelName, RequestId, Timestamp};
use serde::Deserialize;

use super::body::KEEP_ALIVE;
use super::error::DispatchError;
use super::sealed;
use super::ticket::Agreement;
use crate::edge::problem;

/// How the connection ends behind the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Abort,
}

/// The last words of a stream that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) event: Bytes,
    pub(crate) end: End,
}

impl Farewell {
    const SILENT: Self = Self { event: Bytes::new(), end: End::Abort };
}

/// What a stream has to know to fail well.
#[derive(Debug)]
pub(crate) struct Teller {
    endpoint: Endpoint,
    request_id: RequestId,
    model: ModelName,
    begun_at: Timestamp,
    /// Of a Responses stream: its end is numbered on from here.
    last_forwarded: Option<Bytes>,
    /// A sealed stream has no words of ours: it breaks off, and its client sees that it did.
    is_sealed: bool,
}

impl Teller {
    pub(crate) fn new(agreement: &Agreement) -> Self {
        Self {
            endpoint: agreement.endpoint,
            request_id: agreement.request_id,
            model: agreement.model.clone(),
            begun_at: agreement.begun_at,
            last_forwarded: None,
            is_sealed: agreement.sealed.is_some(),
        }
    }

    /// This payload goes to the client now.
    pub(crate) fn forwarded(&mut self, payload: &Bytes) {
        if self.endpoint == Endpoint::Responses && !self.is_sealed {
            self.last_forwarded = Some(payload.clone());
        }
    }

    /// The worker's own last words: it knows what it had said before.
    pub(crate) fn pass_on(&self, event: String) -> Farewell {
        if self.is_sealed {
            return Farewell::SILENT;
        }
        Farewell { event: event.into(), end: self.end() }
    }

    /// Our own, where the worker has none.
    pub(crate) fn tell(&self, error: &DispatchError) -> Farewell {
        if self.is_sealed {
            return Farewell::SILENT;
        }
        let body = problem::in_band(error);
        let mut event = Vec::new();
        if self.endpoint == Endpoint::Responses {
            self.fail_response(&body.error, &mut event);
        } else {
            sse::encode(&mut event, &body.to_json());
        }
        Farewell { event: event.into(), end: self.end() }
    }

    /// What keeps the connection busy and is no part of the answer.
    pub(crate) fn keep_alive(&self) -> Bytes {
        if self.is_sealed { sealed::KEEP_ALIVE } else { KEEP_ALIVE }
    }

    /// Numbered on from what was forwarded; where that is nothing, from the beginning that every
    /// stream has.
    fn fail_response(&self, error: &ErrorObject, out: &mut Vec<u8>) {
        let id = format!("resp_{}", hex::encode(self.request_id.as_bytes()));
        let echo = Echo::unknown(self.model.to_string());
        let begun_at = self.begun_at.as_seconds();
        let last = self.last_forwarded.as_deref().and_then(last_number);
        let next = last.map(|last| last.saturating_add(1)).unwrap_or_else(|| {
            let response = &Response::begun(&id, begun_at, &echo);
            let beginning = [Event::Created { response }, Event::InProgress { response }];
            for (number, event) in (0..).zip(&beginning) {
                event.write(&event.to_json(number), out);
            }
            2
        });
        let failed = Response::failed(&id, begun_at, &echo, &[], error);
        responses::failure(error, &failed, next, out);
    }

    fn end(&self) -> End {
        match self.endpoint {
            Endpoint::Responses => End::Clean,
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => End::Abort,
        }
    }
}

/// The number of the last event in a payload. Only the event's own field counts, not what stands
/// in a tool's schema or in a text.
fn last_number(payload: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence_number: u64,
    }
    let lines = payload.rsplit(|byte| *byte == b'\n');
    let mut data = lines.filter_map(|line| line.strip_prefix(b"data:"));
    data.find_map(|json| serde_json::from_slice::<Numbered>(json.trim_ascii()).ok())
        .map(|event| event.sequence_number)
}

#[cfg(test)]
mod tests;
