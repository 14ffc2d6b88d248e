//! A worker's count against the text of its answer, where that was sampled.

use std::sync::Arc;

use cocoon_attest::receipt::ReceiptCore;
use cocoon_metering::Usage;
use cocoon_primitives::TokenCount;
use cocoon_store::NewReceipt;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Judgement, Settler};
use crate::dispatch::place::strike;
use crate::dispatch::ticket::{Ending, Service};
use crate::recount::{self, Recount, Sample};
use crate::uplink::lock;

impl Settler {
    /// The tokens of a sampled answer's text, where the worker claims too many.
    pub(super) async fn overcount(
        &self,
        ending: &Ending,
        core: &ReceiptCore,
        sample: Option<Sample>,
    ) -> Option<Recount> {
        let sample = sample?;
        let (recounter, agreement) = (Arc::clone(&self.recounter), Arc::clone(&ending.agreement));
        let reasoning = core.usage.reasoning;
        let count = move || {
            let (endpoint, is_streamed) = (agreement.endpoint, agreement.is_streamed);
            recounter.count(&agreement.model, endpoint, is_streamed, reasoning, &sample)
        };
        // The end of the answer waits for this.
        let Ok(counted) = timeout(recount::WAIT, spawn_blocking(count)).await else {
            metrics::counter!("cocoon_recounts_total", "result" => "given_up").increment(1);
            return None;
        };
        let recount = counted.ok().flatten()?;
        let agrees = core.usage.completion <= recount.most;
        let result = if agrees { "agrees" } else { "overcounted" };
        metrics::counter!("cocoon_recounts_total", "result" => result).increment(1);
        (!agrees).then_some(recount)
    }

    /// A worker that claims more than its text has: the lower count is charged, its receipt is
    /// evidence and no bill. Once several wallets have seen it, it gets nothing more.
    pub(super) fn overcounted(
        &self,
        ending: &Ending,
        service: &Service,
        judgement: Judgement,
        recount: Recount,
    ) -> Judgement {
        let (request, worker) = (ending.agreement.request_id, service.worker);
        let claimed = judgement.usage.completion;
        tracing::error!(
            request.id = %request, worker.id = %worker,
            claimed = claimed.get(), counted = recount.counted, most = recount.most,
            "worker {worker} claims more tokens than its answer has"
        );
        strike(&self.fleet, worker, &*self.clock);
        if self.recounter.suspect(worker, ending.agreement.wallet) {
            tracing::error!(
                worker.id = %worker,
                "worker {worker} claimed too many tokens of {} wallets: it is in quarantine",
                recount::WALLETS
            );
            let link = lock(&self.fleet).quarantine(worker);
            if let Some(link) = link {
                link.close();
            }
        }
        let completion = TokenCount::new(recount.counted).min(claimed);
        let reasoning = judgement.usage.reasoning.min(completion);
        let receipt = judgement.receipt.map(|receipt| NewReceipt { stated: None, ..receipt });
        Judgement {
            usage: Usage { completion, reasoning, ..judgement.usage },
            receipt,
            ..judgement
        }
    }
}
