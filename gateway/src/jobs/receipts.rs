//! Receipts that come on a worker's event channel instead of in a stream.
//!
//! Every receipt comes here too, also those that a stream has delivered. One of a live request is
//! handed to whoever will settle it. One of a request that is open and not live is what a crash
//! left, and settles it, if it states the request's terms: see [`usage_after_crash`]. Of a request
//! that is over without a receipt it is kept and changes no charge: it is the bill where it states
//! what was charged, and late, which is evidence without a countersignature, everywhere else.
//! Each is acknowledged once what it changed is durable.
//!
//! A worker that was started again has another key and id, and still brings what its earlier run
//! signed. So a receipt is of the worker that it names and whose key signed it, whoever brings it.

use std::sync::Arc;

use cocoon_attest::receipt::{Expected, ReceiptCore, ReceiptError, SignedReceipt, verify_worker};
use cocoon_metering::Usage;
use cocoon_primitives::{Clock, WorkerId};
use cocoon_runtime::Lifecycle;
use cocoon_store::{
    Outcome, RequestRow, RequestState, SettleOutcome, Settlement, Store, StoreError,
};
use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;

use super::{Acknowledge, Countersigner};
use crate::dispatch::{
    LiveRequests, Offer, PayTerms, new_receipt, settle_patiently, terms, usage_of,
};
use crate::uplink::LateReceipt;

/// Receipts in work at a time: enough to share the store's commits when a worker replays.
const CONCURRENCY: usize = 64;

pub(super) struct Receipts {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) live: LiveRequests,
    pub(super) countersigner: Countersigner,
}

pub(super) fn start(
    receipts: Receipts,
    mut queue: mpsc::Receiver<LateReceipt>,
    lifecycle: &Lifecycle,
) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn("receipts", async move {
        let receipts = &receipts;
        let mut draining = Box::pin(soft.cancelled());
        // A drain closes the queue; what is in it is still handled, the rest is replayed later.
        let arriving = poll_fn(move |cx| {
            if draining.as_mut().poll(cx).is_ready() {
                queue.close();
            }
            queue.poll_recv(cx)
        });
        arriving.for_each_concurrent(CONCURRENCY, |late| receipts.handle(late)).await;
    });
}

impl Receipts {
    async fn handle(&self, LateReceipt { link, receipt }: LateReceipt) {
        let worker = link.worker_id();
        let Ok(core) = ReceiptCore::decode(&receipt.core) else {
            // Nothing in it can be named, not even for an acknowledgement.
            tracing::warn!(worker.id = %worker, "receipt from {worker} is not readable");
            return;
        };
        let request = core.request_id;
        let Some(signer) = signer(worker, &core, &receipt).await else {
            metrics::counter!("cocoon_receipts_refused_total").increment(1);
            tracing::warn!(
                request.id = %request, worker.id = %worker,
                "receipt of {request} names another worker, whose key did not sign it"
            );
            self.countersigner.settled(request, Acknowledge::through(&link));
            return;
        };
        match self.live.offer((request, signer, core.attempt), receipt.clone()) {
            Offer::Taken => return,
            Offer::Stale => tracing::debug!(
                request.id = %request, worker.id = %worker, attempt = core.attempt,
                "receipt of {request} is of an earlier attempt"
            ),
            Offer::NotLive => {
                if let Err(error) = self.settle(worker, core, receipt).await {
                    tracing::error!(
                        request.id = %request, worker.id = %worker, cause = %error,
                        "receipt of {request} is put off: its worker replays it"
                    );
                    return;
                }
            }
        }
        self.countersigner.settled(request, Acknowledge::through(&link));
    }

    /// Settles what a crash left open, with the receipt that tells how it ended; notes it as late
    /// where the request is over without one.
    async fn settle(
        &self,
        worker: WorkerId,
        core: ReceiptCore,
        receipt: SignedReceipt,
    ) -> Result<(), StoreError> {
        let request = core.request_id;
        let Some(row) = self.store.request(request).await? else { return Ok(()) };
        if is_complete(&row) {
            return Ok(());
        }
        let expected_of = row.clone();
        let verify = move || verify(&receipt, worker, &expected_of).map(|core| (core, receipt));
        let (core, receipt) = match tokio::task::spawn_blocking(verify).await {
            Ok(Ok(verified)) => verified,
            Ok(Err(error)) => {
                metrics::counter!("cocoon_receipts_refused_total").increment(1);
                tracing::warn!(
                    request.id = %request, worker.id = %worker, cause = %error,
                    "late receipt of {request} is refused"
                );
                return Ok(());
            }
            // The process is ending; the worker replays.
            Err(_) => return Err(StoreError::Closed),
        };
        let settlement = Settlement {
            request_id: request,
            holder: None,
            worker: Some(core.worker_id),
            payee: Some(core.terms.payee),
            outcome: if row.streamed { Outcome::ClientGone } else { Outcome::Failed },
            usage: usage_after_crash(&row, &core),
            settled_at: self.clock.now(),
            receipt: Some(new_receipt(receipt, &core)),
        };
        let settled = settle_patiently(&self.store, settlement).await?;
        if let SettleOutcome::Expired = settled {
            metrics::counter!("cocoon_receipts_too_late_total").increment(1);
        }
        tracing::info!(
            request.id = %request, worker.id = %worker,
            "late receipt of {request}: {settled:?}"
        );
        Ok(())
    }
}

/// Whose receipt it is. One that names another worker than its bearer takes the place of nobody's
/// before its signature was checked; `None` where that fails.
async fn signer(bearer: WorkerId, core: &ReceiptCore, receipt: &SignedReceipt) -> Option<WorkerId> {
    if core.worker_id == bearer {
        return Some(bearer);
    }
    let receipt = receipt.clone();
    let verified = tokio::task::spawn_blocking(move || receipt.verify()).await;
    verified.ok()?.ok().map(|core| core.worker_id)
}

/// Whether a request needs no receipt from here: it has one, or nothing was done for it.
fn is_complete(row: &RequestRow) -> bool {
    matches!(row.state, RequestState::Settled(Outcome::Completed | Outcome::Refused))
}

/// What is charged for a request that a crash of this gateway cut.
///
/// Of a stream: what the worker generated, by its receipt. The delivered prefix, which is what a
/// stream that broke off for any other reason of ours costs, went with the process; of the tokens
/// generated, all but those still under way had been forwarded. Of a whole answer: nothing, for
/// it is settled before it is delivered. Its receipt then states a charge that was not made, so
/// the store keeps it as late, without a countersignature, and no receipt file comes of it.
fn usage_after_crash(row: &RequestRow, core: &ReceiptCore) -> Usage {
    if row.streamed { usage_of(core) } else { Usage::default() }
}

fn verify(
    receipt: &SignedReceipt,
    worker: WorkerId,
    row: &RequestRow,
) -> Result<ReceiptCore, ReceiptError> {
    // The lease may be an earlier one, and the bearer a later run of the same worker; the key that
    // the request was given to is what counts. Where none is known it has to be the bearer's.
    let stated = ReceiptCore::decode(&receipt.core)?;
    let pay = PayTerms {
        wallet: &row.wallet,
        request_id: row.request_id,
        pay_blind: &row.pay_blind,
        price: &row.price,
        commission_bp: row.commission_bp,
        prompt_max: row.max_prompt.get(),
        completion_max: row.max_completion.get(),
    };
    let payee = row.payee.unwrap_or(stated.terms.payee);
    let expected = Expected {
        worker_id: row.worker.unwrap_or(worker),
        lease: None,
        request_id: row.request_id,
        attempt: row.attempt,
        model: &row.model,
        terms: Some(&terms(pay, payee, stated.terms.not_after)),
        completion: None,
    };
    verify_worker(receipt, &expected)
}

#[cfg(test)]
mod tests;
