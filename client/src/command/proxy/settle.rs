//! After an answer: its receipt is fetched, held to what was seen, and stored. What does not hold
//! ends the proxy's work until a person has looked.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cocoon_attest::receipt::ReceiptFile;
use cocoon_primitives::RequestId;
use tokio::time::{Instant, sleep_until};

use super::event::Event;
use super::exchange::Exchange;
use super::judge::{End, Seen, judge};
use crate::api::Api;
use crate::command::receipt;
use crate::error::CliError;
use crate::trust::Doubt;

/// How long a receipt is waited for.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
/// Answers in a row whose receipts could not be fetched.
const UNPROVEN_MAX: u32 = 16;

/// What is known to be wrong. The first reason stays.
#[derive(Default)]
pub(super) struct Latch {
    doubt: Mutex<Option<Doubt>>,
}

impl Latch {
    pub(super) fn check(&self) -> Result<(), Doubt> {
        match &*self.doubt.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(doubt) => Err(doubt.clone()),
        }
    }

    /// Refuses all further requests.
    pub(super) fn close(&self, doubt: Doubt, request_id: Option<RequestId>) {
        Event::Doubt { code: doubt.code, reason: &doubt.reason, request_id }.print();
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(doubt);
    }
}

/// Where receipts go, and how many answers have none.
pub(super) struct Settlement {
    pub(super) latch: Latch,
    api: Api,
    folder: PathBuf,
    unproven: AtomicU32,
}

/// Why there is no receipt.
enum Absent {
    /// The gateway says that there is none.
    None(String),
    /// Nobody could be asked.
    Unknown,
}

impl Settlement {
    /// Makes the folder where it is not there.
    pub(super) fn new(api: Api, folder: PathBuf) -> Result<Self, CliError> {
        std::fs::create_dir_all(&folder).map_err(|source| CliError::File {
            action: "create",
            path: folder.clone(),
            source,
        })?;
        Ok(Self { latch: Latch::default(), api, folder, unproven: AtomicU32::new(0) })
    }

    /// Fetches, judges and stores the receipt of one answer.
    pub(super) async fn settle(
        &self,
        exchange: &Exchange,
        seen: &Seen,
        gateway_key: Option<[u8; 32]>,
    ) {
        let request_id = exchange.head.request_id;
        match self.fetch(exchange).await {
            Ok(file) => match judge(&file, gateway_key.as_ref(), exchange, seen) {
                Ok(core) => {
                    self.unproven.store(0, Ordering::Relaxed);
                    self.store(&file, request_id);
                    Event::Receipt {
                        request_id,
                        prompt_tokens: core.usage.prompt,
                        completion_tokens: core.usage.completion,
                        charge: receipt::charge(&core),
                        assurance: core.assurance,
                    }
                    .print();
                }
                Err(doubt) => {
                    self.store(&file, request_id);
                    self.latch.close(doubt, Some(request_id));
                }
            },
            // Of an answer that broke off there may be none, and then it cost nothing.
            Err(Absent::None(_)) if seen.end == End::Cut => {}
            Err(Absent::None(reason)) => {
                let reason = format!("a whole answer came without a receipt: {reason}");
                self.latch.close(Doubt::new("receipt_missing", reason), Some(request_id));
            }
            Err(Absent::Unknown) => self.unproven(request_id),
        }
    }

    fn unproven(&self, request_id: RequestId) {
        let count = self.unproven.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if count >= UNPROVEN_MAX {
            let reason = format!("the receipts of {count} answers in a row could not be fetched");
            self.latch.close(Doubt::new("receipts_unavailable", reason), Some(request_id));
        } else {
            Event::Unproven { request_id }.print();
        }
    }

    async fn fetch(&self, exchange: &Exchange) -> Result<ReceiptFile, Absent> {
        let none = |error: &CliError| Absent::None(error.to_string());
        let api = self.api.with_credential(&exchange.key).map_err(|error| none(&error))?;
        let until = Instant::now() + WAIT;
        loop {
            let is_over = Instant::now() >= until;
            match receipt::fetch(&api, exchange.head.request_id).await {
                Ok(file) => return Ok(file),
                Err(CliError::Refused(refusal)) if may_come(refusal.status, &refusal.code) => {
                    if is_over {
                        return Err(Absent::None(refusal.message));
                    }
                }
                Err(CliError::Unreachable { .. }) => {
                    if is_over {
                        return Err(Absent::Unknown);
                    }
                }
                Err(error) => return Err(none(&error)),
            }
            sleep_until(Instant::now() + PAUSE).await;
        }
    }

    fn store(&self, file: &ReceiptFile, request_id: RequestId) {
        let path = path(&self.folder, request_id);
        if let Err(error) = receipt::save(file, &path) {
            Event::Unstored { request_id, reason: &error.to_string() }.print();
        }
    }
}

fn path(folder: &Path, request_id: RequestId) -> PathBuf {
    folder.join(format!("{request_id}.json"))
}

/// Not there yet, or the gateway is busy.
fn may_come(status: u16, code: &Option<String>) -> bool {
    code.as_deref() == Some("receipt_pending") || status == 429 || status >= 500
}
