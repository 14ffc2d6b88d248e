//! One sealed request: made, sent, and what its receipt must state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::receipt::pay_commitment;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::peek;
use cocoon_primitives::{Clock as _, ModelName, RequestId, WalletAddress};
use cocoon_runtime::SystemClock;
use cocoon_seal::{AnswerKeys, Head, Recipient, SealRandom, headers, seal};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::limits::{Offer, is_within, limits};
use super::problem::Problem;
use crate::trust::Doubt;
use crate::trust::worker::Admitted;

/// A request must have begun by then; the protocol's own bound is five minutes.
const LIFE: Duration = Duration::from_secs(240);

/// What a client asked for, read once.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) model: ModelName,
    pub(super) is_stream: bool,
    limits: super::limits::Limits,
    max_price: [u64; 3],
    body: Bytes,
    room: Arc<OwnedSemaphorePermit>,
}

/// A request under way.
pub(super) struct Exchange {
    pub(super) head: Head,
    pub(super) wallet: WalletAddress,
    pub(super) key: Zeroizing<String>,
    /// The body as it was sent.
    pub(super) sealed: Bytes,
    pub(super) workers: Vec<Admitted>,
    pub(super) began: Instant,
    /// The sealed body is held until its receipt has come.
    _room: Arc<OwnedSemaphorePermit>,
}

/// What goes to the gateway, and what reads the answer.
pub(super) struct Sealed {
    pub(super) exchange: Arc<Exchange>,
    pub(super) headers: HeaderMap,
    pub(super) answer: AnswerKeys,
}

/// The model that a body names.
pub(super) fn model_of(endpoint: Endpoint, body: &[u8]) -> Result<ModelName, Problem> {
    let peek = peek::read(endpoint, body)?;
    peek.model.parse().map_err(|_| {
        let message = "The model's name is not one that a model has.";
        InvalidRequest::param("model_not_found", "model", message).into()
    })
}

impl Asked {
    /// Reads what a sealed request states in the clear. `cap` is the user's own price limit, and
    /// `room` what the body takes of the memory for all of them.
    pub(super) fn read(
        endpoint: Endpoint,
        body: Bytes,
        offer: &Offer,
        cap: Option<[u64; 3]>,
        room: Arc<OwnedSemaphorePermit>,
    ) -> Result<Self, Problem> {
        let model = model_of(endpoint, &body)?;
        let peek = peek::read(endpoint, &body)?;
        let max_price = cap.unwrap_or(offer.price);
        if !is_within(&offer.price, &max_price) {
            let [prompt, cached, completion] = offer.price;
            let reason = format!(
                "the model costs {prompt},{cached},{completion} nano-coins per million tokens \
                 (prompt, cached, completion), more than --max-price allows"
            );
            return Err(InvalidRequest::param("price_above_limit", "model", reason).into());
        }
        let (limits, is_stream) = (limits(&peek, body.len(), offer), peek.stream);
        Ok(Self { endpoint, model, is_stream, limits, max_price, body, room })
    }

    /// An id that nobody else has, to be charged under.
    pub(super) fn request_id(&self) -> Result<RequestId, Problem> {
        let bytes = random()?;
        let (id, _) = bytes.split_first_chunk().expect("16 of 32 bytes");
        Ok(RequestId::from_bytes(*id))
    }

    /// What all repeats of a request with an `Idempotency-Key` have in common.
    pub(super) fn idempotency(&self, key: &str, idempotency: &HeaderValue) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [
            b"cocoon/proxy/request-id/v1".as_slice(),
            key.as_bytes(),
            self.endpoint.path().as_bytes(),
            idempotency.as_bytes(),
        ] {
            hash.update(Sha256::digest(part));
        }
        hash.finalize().into()
    }

    /// Seals the request to these workers.
    pub(super) async fn seal(
        &self,
        request_id: RequestId,
        key: &str,
        wallet: WalletAddress,
        workers: Vec<Admitted>,
    ) -> Result<Sealed, Problem> {
        let blind = random()?;
        let head = Head {
            path: self.endpoint.path().to_owned(),
            request_id,
            model: self.model.clone(),
            is_stream: self.is_stream,
            max_prompt_tokens: self.limits.max_prompt_tokens,
            max_tokens: self.limits.max_tokens,
            max_price: self.max_price,
            not_after: SystemClock.now().saturating_add(LIFE),
            pay_commit: pay_commitment(&wallet, 0, request_id, None, &blind),
        };
        let random =
            SealRandom { cek: random()?, ephemeral: [random()?, random()?, random()?, random()?] };
        let recipients: Vec<Recipient> = workers.iter().map(recipient).collect();
        let (sealing, body) = (head.clone(), self.body.clone());
        // Milliseconds for a large body, and other answers must go on.
        let sealed =
            tokio::task::spawn_blocking(move || seal(&sealing, &body, &recipients, &random));
        let sealed = sealed.await.map_err(|_| cannot("the work was interrupted"))?;
        let (keys, sealed, answer) = sealed.map_err(|error| cannot(&error.to_string()))?;
        let headers = headers_of(&head, &keys.to_string(), &blind);
        let key = Zeroizing::new(key.to_owned());
        let _room = Arc::clone(&self.room);
        let (sealed, began) = (sealed.into(), Instant::now());
        let exchange = Exchange { head, wallet, key, sealed, workers, began, _room };
        Ok(Sealed { exchange: Arc::new(exchange), headers, answer })
    }
}

fn recipient(worker: &Admitted) -> Recipient {
    Recipient {
        worker_id: worker.worker_id,
        key: worker.hpke_key,
        evidence_digest: worker.evidence_digest,
    }
}

fn headers_of(head: &Head, keys: &str, blind: &[u8; 32]) -> HeaderMap {
    let mut written = head.write();
    written.push((headers::E2EE, "1".into()));
    written.push((headers::SEAL_KEYS, keys.into()));
    written.push((headers::PAY_BLIND, hex::encode(blind)));
    let pairs = written.into_iter().map(|(name, value)| {
        let value = HeaderValue::try_from(value);
        let value = value.expect("ids, numbers, hex and base64 are visible ASCII");
        (HeaderName::from_static(name), value)
    });
    pairs.collect()
}

fn random() -> Result<[u8; 32], Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| cannot("there are no random bytes"))?;
    Ok(bytes)
}

fn cannot(reason: &str) -> Problem {
    Doubt::new("seal", format!("the request cannot be sealed: {reason}")).into()
}
