//! From what was asked to an answer that comes back sealed.
//!
//! Invariant: whatever becomes of a request that left this machine, somebody asks for its receipt,
//! unless it was refused in a way that leaves none. What was said to have failed must not be
//! charged.

use std::sync::Arc;

use http::HeaderMap;

use super::Proxy;
use super::attempts::Attempt;
use super::exchange::{Asked, Exchange, Sealed};
use super::gateway::passed;
use super::judge::{End, Seen};
use super::problem::Problem;
use super::relay::{Opening, Relay};
use crate::trust::TrustError;

/// A stale key is repaired once: after that somebody has to look.
const SEALS_MAX: u8 = 2;

/// Whose request it is.
pub(super) struct Payer<'a> {
    pub(super) key: &'a str,
    pub(super) wallet: cocoon_primitives::WalletAddress,
    /// Where the client said one: a hash of the `Idempotency-Key`.
    pub(super) idempotency: Option<[u8; 32]>,
}

/// An answer that has begun.
pub(super) struct Begun {
    pub(super) relay: Relay,
    pub(super) opening: Opening,
    pub(super) headers: HeaderMap,
    pub(super) exchange: Arc<Exchange>,
}

/// Sends the request until somebody could open it, and waits for the first frame.
pub(super) async fn send(
    proxy: &Arc<Proxy>,
    asked: &Asked,
    payer: &Payer<'_>,
    untrusted: impl Fn(&Proxy, TrustError) -> Problem,
) -> Result<Begun, Problem> {
    let mut seals = 0;
    loop {
        let workers = proxy.roster.pick(&asked.model, proxy.workers_max).await;
        let workers = workers.map_err(|error| untrusted(proxy, error))?;
        let attempt = payer.idempotency.map(|hash| proxy.attempts.begin(hash));
        let request_id = match &attempt {
            Some(attempt) => attempt.request_id(),
            None => asked.request_id()?,
        };
        let sealed = asked.seal(request_id, payer.key, payer.wallet, workers).await?;
        let Sealed { exchange, headers, answer } = sealed;
        seals += 1;
        let sent = Sent::new(proxy, &exchange);
        let body = exchange.sealed.clone();
        match proxy.gateway.ask(asked.endpoint, payer.key, headers, body).await {
            Ok(response) => {
                sent.answered();
                let headers = passed(response.headers());
                let opener = answer.opener();
                let mut relay =
                    Relay::new(Arc::clone(proxy), Arc::clone(&exchange), response, opener);
                let opening = relay.open().await?;
                if let (Opening::Refusal(refusal), Some(attempt)) = (&opening, attempt)
                    && refusal.status >= 500
                {
                    attempt.failed();
                }
                return Ok(Begun { relay, opening, headers, exchange });
            }
            Err(problem) => {
                sent.refused(&problem);
                after(attempt, &problem);
                if !problem.is_stale_key() || seals >= SEALS_MAX {
                    return Err(problem);
                }
                proxy.roster.forget().await;
            }
        }
    }
}

/// What a failure means for a repeat of the same request.
fn after(attempt: Option<Attempt>, problem: &Problem) {
    let Some(attempt) = attempt else { return };
    if problem.says_uncharged() {
        attempt.failed();
    } else if problem.is_unsent() || problem.is_client_error() {
        attempt.unused();
    }
}

/// A request that was sent and has no answer yet. One that its client does not wait for is
/// charged for what was generated until then.
struct Sent {
    proxy: Arc<Proxy>,
    exchange: Option<Arc<Exchange>>,
}

impl Sent {
    fn new(proxy: &Arc<Proxy>, exchange: &Arc<Exchange>) -> Self {
        Self { proxy: Arc::clone(proxy), exchange: Some(Arc::clone(exchange)) }
    }

    /// Whoever reads the answer asks for its receipt.
    fn answered(mut self) {
        self.exchange = None;
    }

    /// Of what was said to have failed there must be no charge; what broke off has one as a cut
    /// answer has.
    fn refused(mut self, problem: &Problem) {
        let Some(exchange) = self.exchange.take() else { return };
        if problem.says_uncharged() {
            watch(&self.proxy, &exchange);
        } else if problem.may_have_run() {
            settle(&self.proxy, exchange, Seen::nothing(End::Cut));
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            settle(&self.proxy, exchange, Seen::nothing(End::Left));
        }
    }
}

/// Looks whether a request is charged that was said to have failed. Its body is not held for that.
pub(super) fn watch(proxy: &Arc<Proxy>, exchange: &Exchange) {
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    let (key, request_id) = (exchange.key.clone(), exchange.head.request_id);
    let watching = Arc::clone(proxy);
    proxy.lifecycle.spawn("uncharged", async move {
        let soft = watching.lifecycle.soft().clone();
        watching.settlement.watch(&key, request_id, &soft).await;
    });
}

/// Asks for the receipt of what was seen, beside everything else.
pub(super) fn settle(proxy: &Arc<Proxy>, exchange: Arc<Exchange>, seen: Seen) {
    // Where the runtime itself ends, nobody is left to ask.
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    let asking = Arc::clone(proxy);
    proxy.lifecycle.spawn("receipt", async move {
        let key = asking.roster.gateway_key();
        asking.settlement.settle(&exchange, &seen, key).await;
    });
}
