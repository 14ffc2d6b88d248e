//! Prolonging a lease before it ends: light every time, full once an hour.

use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::enrol::Refusal;
use cocoon_attest::lease::Lease;
use cocoon_attest::renewal::{LightChallenge, RenewalFault, Renewed, full};
use cocoon_uplink_wire::headers::RENEW_PATH;
use cocoon_uplink_wire::message::{MessageError, from_cbor, to_cbor};
use cocoon_uplink_wire::renew::{RENEWAL_BYTES_MAX, RenewalAnswer, RenewalRequest};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::{Instant, sleep_until, timeout};

use super::handshake::{Verifier, random};
use super::link::{LinkError, WorkerLink};

/// For one renewal.
const DEADLINE: Duration = Duration::from_secs(10);
/// Evidence is brought again after this long.
const FULL_AFTER: Duration = Duration::from_secs(3600);

/// Why a lease was not prolonged.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalError {
    #[error("the worker did not answer in time")]
    Deadline,
    #[error("the link failed")]
    Link(#[source] LinkError),
    #[error("the worker refused with status {0}")]
    Status(StatusCode),
    #[error("the answer's body failed or is over its bound")]
    Body,
    #[error("the answer is no renewal")]
    Message(#[source] MessageError),
    #[error("the answer is of another kind than asked")]
    Kind,
    #[error("the answer does not verify")]
    Fault(#[source] RenewalFault),
    #[error("the new evidence was refused")]
    Refused(#[source] Refusal),
}

/// One connection's renewals.
pub(super) struct Renewals<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) link: &'a WorkerLink,
    pub(super) exporter: &'a [u8; 32],
    pub(super) peer_spki: &'a [u8],
}

impl Renewals<'_> {
    /// Renews at two thirds of each lease, until one renewal fails.
    pub(super) async fn run(&self, mut renewed: impl FnMut(Renewed)) -> RenewalError {
        let life = self.verifier.policy.lease_life();
        let mut proven = Instant::now();
        loop {
            sleep_until(Instant::now() + life * 2 / 3).await;
            let lease = self.link.lease();
            let is_full = proven.elapsed() >= FULL_AFTER;
            let outcome = timeout(DEADLINE.min(life / 3), async {
                if is_full { self.full(&lease).await } else { self.light(&lease).await }
            });
            match outcome.await {
                Ok(Ok(prolonged)) => renewed(prolonged),
                Ok(Err(error)) => return error,
                Err(_) => return RenewalError::Deadline,
            }
            if is_full {
                proven = Instant::now();
            }
        }
    }

    async fn light(&self, lease: &Lease) -> Result<Renewed, RenewalError> {
        let challenge = LightChallenge::issue(random());
        let request = RenewalRequest::Light { nonce: *challenge.nonce() };
        let RenewalAnswer::Light { signature } = self.ask(&request).await? else {
            return Err(RenewalError::Kind);
        };
        let (policy, now) = (&self.verifier.policy, self.verifier.clock.now());
        challenge.verify(lease, self.exporter, &signature, policy, now).map_err(RenewalError::Fault)
    }

    async fn full(&self, lease: &Lease) -> Result<Renewed, RenewalError> {
        let open = self.verifier.challenge();
        let request = RenewalRequest::Full(open.message());
        let RenewalAnswer::Full(evidence) = self.ask(&request).await? else {
            return Err(RenewalError::Kind);
        };
        let attested = self
            .verifier
            .judge(open, &evidence, self.exporter, self.peer_spki)
            .map_err(RenewalError::Refused)?;
        let (policy, now) = (&self.verifier.policy, self.verifier.clock.now());
        full(lease, attested, policy, now).map_err(RenewalError::Fault)
    }

    async fn ask(&self, request: &RenewalRequest) -> Result<RenewalAnswer, RenewalError> {
        let body = Full::new(Bytes::from(to_cbor(request)));
        let request = Request::post(RENEW_PATH).body(body).expect("a constant path is a request");
        let response = self.link.send(request).await.map_err(RenewalError::Link)?;
        if response.status() != StatusCode::OK {
            return Err(RenewalError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), RENEWAL_BYTES_MAX).collect().await;
        let body = body.map_err(|_| RenewalError::Body)?.to_bytes();
        from_cbor(&body).map_err(RenewalError::Message)
    }
}
