//! Requests that only this worker, and others that the client chose, can read.
//!
//! The clear head says what the gateway routed and charged by; everything in it is bound to the
//! sealed body. Whatever head, terms and body disagree about is refused before any engine hears of
//! it. Once a request has been opened, everything that is said about it is sealed too: the answer's
//! frames and every refusal. What a gateway still reads is a status, a code and the counts that it
//! charges by.
//! Source: docs/sealed-requests.md.

mod envelope;
mod replay;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cocoon_attest::receipt::Terms;
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::peek::Peek;
use cocoon_primitives::{RequestId, Timestamp};
use cocoon_seal::{AnswerHead, Opened, SealKeys, headers};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::UplinkBody;
use super::refusal::Refusal;
use crate::uplink::LeaseContext;

pub(super) use self::envelope::{Envelope, Wrapping};
use self::replay::ReplayFault;
pub(super) use self::replay::Replays;

/// A sealed request that this worker has opened.
pub(super) struct Unsealed {
    pub(super) head: cocoon_seal::Head,
    pub(super) body: Bytes,
    /// Salt of the parameters' commitment, which the gateway must not be able to guess against.
    pub(super) params_salt: [u8; 32],
    pub(super) envelope: Envelope,
}

/// The clear part of a sealed request: nothing is opened yet.
pub(super) struct Sealed {
    pub(super) head: cocoon_seal::Head,
    keys: SealKeys,
}

impl Sealed {
    /// `None` of a clear request.
    pub(super) fn read(path: &str, map: &HeaderMap) -> Result<Option<Self>, Refusal> {
        if !map.contains_key(headers::E2EE) {
            return Ok(None);
        }
        let get = |name: &str| {
            let mut values = map.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())?.to_str().ok()
        };
        if get(headers::E2EE) != Some("1") {
            return Err(Refusal::bad_head(headers::E2EE));
        }
        let head = cocoon_seal::Head::read(path, get);
        let head = head.map_err(|error| Refusal::bad_head(error.header))?;
        let keys = get(headers::SEAL_KEYS).and_then(|text| text.parse().ok());
        let keys = keys.ok_or_else(|| Refusal::bad_head(headers::SEAL_KEYS))?;
        Ok(Some(Self { head, keys }))
    }

    /// Holds the terms to what the client sealed: a gateway that charges by other numbers gets no
    /// answer.
    pub(super) fn admit(&self, terms: &Terms, now: Timestamp) -> Result<(), Refusal> {
        let head = &self.head;
        head.check_time(now).map_err(|error| Refusal::bad_head(error.header))?;
        let row = [terms.price.prompt, terms.price.cached, terms.price.completion];
        let price = row.map(|price| price.nano_per_million().get());
        let agreed = [
            (headers::PAY_COMMIT, terms.pay_commit == head.pay_commit),
            (headers::MAX_TOKENS, terms.max_completion_tokens == u64::from(head.max_tokens)),
            (headers::MAX_PROMPT_TOKENS, terms.max_prompt_tokens <= head.max_prompt_tokens),
            (
                headers::MAX_PRICE,
                price.iter().zip(&head.max_price).all(|(price, most)| price <= most),
            ),
        ];
        match agreed.iter().find(|(_, agrees)| !agrees) {
            Some((header, _)) => Err(Refusal::other_terms(header)),
            None => Ok(()),
        }
    }

    /// Opens the body. Takes as long as the body is.
    pub(super) fn open(self, lease: &LeaseContext, body: &Bytes) -> Result<Unsealed, Refusal> {
        let Self { head, keys } = self;
        let (worker, evidence) = (lease.worker_id(), lease.evidence_digest());
        let opened = cocoon_seal::open(&head, &keys, worker, evidence, &lease.seal_key, body);
        let Opened { body, answer, params_salt } = opened.map_err(|error| {
            tracing::info!(reason = error.code(), "a sealed request was not opened: {error}");
            Refusal::seal_key_config()
        })?;
        let mut response_nonce = [0; 32];
        getrandom::fill(&mut response_nonce)
            .map_err(|_| Refusal::internal("the system gives no random bytes"))?;
        let envelope = Envelope::new(answer.sealer(response_nonce));
        Ok(Unsealed { head, body: Bytes::from_owner(body), params_salt, envelope })
    }
}

/// Refuses a body that asks for something else than its head says. Its limit of tokens is not
/// compared: the lower of the two holds, as in a clear request.
pub(super) fn check_body(head: &cocoon_seal::Head, peek: &Peek<'_>) -> Result<(), InvalidRequest> {
    let differs = |param: &str| {
        let message = format!("The body and the sealed head disagree about '{param}'.");
        Err(InvalidRequest::param("sealed_head_mismatch", param, message))
    };
    if peek.model != head.model.as_str() {
        return differs("model");
    }
    if peek.stream != head.is_stream {
        return differs("stream");
    }
    Ok(())
}

/// A request that was opened and is remembered: from now on whatever is said about it is sealed.
pub(super) struct Sealing {
    envelope: Envelope,
    claim: Claim,
}

/// The memory of a request. Dropped, it is forgotten, unless an engine was given the request: what
/// costs nobody anything must not fill the table.
struct Claim {
    replays: Arc<Mutex<Replays>>,
    request_id: RequestId,
    remembered_until: Timestamp,
    is_kept: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_kept {
            lock(&self.replays).release(self.request_id, self.remembered_until);
        }
    }
}

impl Sealing {
    /// Remembers the request, or refuses it: as a repeat, or because there is no room to remember.
    pub(super) fn claim(
        replays: &Arc<Mutex<Replays>>,
        head: &cocoon_seal::Head,
        envelope: Envelope,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let (request_id, remembered_until) = (head.request_id, head.remembered_until());
        let claimed = lock(replays).claim(request_id, remembered_until, now);
        claimed.map_err(|fault| match fault {
            ReplayFault::Seen => Refusal::sealed_replay(),
            ReplayFault::Full => Refusal::replays_full(),
        })?;
        let replays = Arc::clone(replays);
        let claim = Claim { replays, request_id, remembered_until, is_kept: false };
        Ok(Self { envelope, claim })
    }

    /// An engine works on it from here on: it is remembered, whether or not anybody waits.
    pub(super) fn keep(&mut self) {
        self.claim.is_kept = true;
    }

    /// The refusal, sealed. A request that an engine failed over stays remembered; any other may
    /// come again, and is refused again or finds more room.
    pub(super) fn refuse(mut self, refusal: Refusal) -> Response<UplinkBody> {
        self.claim.is_kept = refusal.is_engine_failure();
        refusal.into_sealed_response(self.envelope)
    }

    /// The answer begins, with what would else be headers.
    pub(super) fn into_wrapping(
        self,
        content_type: &str,
        dropped_tools: Option<&HeaderValue>,
    ) -> Wrapping {
        let dropped_tools = dropped_tools.and_then(|kinds| kinds.to_str().ok());
        let head = AnswerHead {
            status: StatusCode::OK.as_u16(),
            content_type: content_type.to_owned(),
            dropped_tools: dropped_tools.map(str::to_owned),
        };
        Wrapping::Sealed(Box::new(self.envelope.with_head(head)))
    }
}

fn lock(replays: &Mutex<Replays>) -> MutexGuard<'_, Replays> {
    replays.lock().unwrap_or_else(PoisonError::into_inner)
}
