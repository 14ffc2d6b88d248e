//! After an answer: its receipt is fetched, held to what was seen, and stored. What does not hold
//! ends the proxy's work until a person has looked.

mod latch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cocoon_attest::receipt::{ReceiptFile, verify_file};
use cocoon_primitives::RequestId;
use cocoon_runtime::CancellationToken;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

pub(super) use self::latch::Latch;
use super::event::Event;
use super::exchange::Exchange;
use super::judge::{End, Seen, judge, unverified};
use crate::api::{Api, Refusal};
use crate::command::receipt;
use crate::error::CliError;
use crate::private_file;
use crate::trust::Doubt;

/// How long a receipt is waited for.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
/// Between the first two looks for a receipt that must not be there; each next one is twice as long.
const WATCH_PAUSE: Duration = Duration::from_secs(5);
const WATCHES_MAX: usize = 256;
/// Answers in a row whose receipts could not be fetched, or that the gateway cut off.
const IN_A_ROW_MAX: u32 = 16;

/// Where receipts go, and how many answers have none.
pub(super) struct Settlement {
    pub(super) latch: Latch,
    api: Api,
    folder: PathBuf,
    unproven: AtomicU32,
    cuts: Mutex<Cuts>,
    watches: Semaphore,
}

/// Answers that the gateway cut off, one after the other.
#[derive(Default)]
struct Cuts {
    count: u32,
    /// Those that were open together at this moment count once: one connection had them all.
    last: Option<Instant>,
}

/// Why there is no receipt.
enum Absent {
    /// The gateway says that there is none.
    None(String),
    /// It says nothing of use.
    Unknown(String),
}

impl Settlement {
    /// Makes the folder where it is not there.
    pub(super) fn new(api: Api, folder: PathBuf) -> Result<Self, CliError> {
        private_file::create_folder(&folder)?;
        Ok(Self {
            latch: Latch::default(),
            api,
            folder,
            unproven: AtomicU32::new(0),
            cuts: Mutex::default(),
            watches: Semaphore::new(WATCHES_MAX),
        })
    }

    /// Fetches, judges and stores the receipt of one answer.
    pub(super) async fn settle(
        &self,
        exchange: &Exchange,
        seen: &Seen,
        gateway_key: Option<[u8; 32]>,
    ) {
        let request_id = exchange.head.request_id;
        if seen.end == End::Cut {
            self.cut(exchange);
        }
        match self.fetch(exchange).await {
            Ok(file) => match judge(&file, gateway_key.as_ref(), exchange, seen) {
                Ok(judged) => {
                    self.unproven.store(0, Ordering::Relaxed);
                    if seen.end == End::Whole {
                        self.cuts().count = 0;
                    }
                    self.store(&file, request_id, "json");
                    let core = judged.core;
                    Event::Receipt {
                        request_id,
                        prompt_tokens: core.usage.prompt,
                        completion_tokens: core.usage.completion,
                        charge: receipt::charge(&core),
                        assurance: core.assurance,
                        answer_checked: judged.is_answer_checked,
                    }
                    .print();
                }
                Err(doubt) => self.refuse(&file, request_id, doubt),
            },
            Err(absent) => self.absent(&absent, seen.end, request_id),
        }
    }

    /// Looks for a while whether something has a receipt that was said to have failed. Ends early,
    /// with one last look, when the proxy does.
    pub(super) async fn watch(&self, key: &str, request_id: RequestId, soft: &CancellationToken) {
        let Ok(_permit) = self.watches.try_acquire() else {
            let reason = "it was said to have failed, and too many such requests are open to see \
                          whether it is charged";
            return Event::Unproven { request_id, reason }.print();
        };
        let Ok(api) = self.api.with_credential(key) else { return };
        let path = format!("/receipts/{request_id}");
        let (until, mut pause) = (Instant::now() + WAIT, WATCH_PAUSE);
        loop {
            let is_last = soft.is_cancelled() || Instant::now() >= until;
            if let Ok(file) = api.get::<ReceiptFile>(&path).await {
                return self.failed(&file, request_id);
            }
            if is_last {
                return;
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = sleep_until(until.min(Instant::now() + pause)) => {}
            }
            pause = pause.saturating_mul(2);
        }
    }

    /// A receipt of what was said to have failed may state that it costs nothing.
    fn failed(&self, file: &ReceiptFile, request_id: RequestId) {
        let doubt = match verify_file(file, None) {
            Err(error) => unverified(&error),
            Ok(verified) if receipt::charge(&verified.core).get() == 0 => return,
            Ok(_) => {
                let reason = "the request was refused, and it is charged all the same";
                Doubt::new("charged_unopened", reason)
            }
        };
        self.refuse(file, request_id, doubt);
    }

    fn refuse(&self, file: &ReceiptFile, request_id: RequestId, doubt: Doubt) {
        self.store(file, request_id, "refused.json");
        self.latch.close(doubt, Some(request_id));
    }

    /// Of an answer that broke off there may be none, and then it cost nothing; whether it did is
    /// not proven.
    fn absent(&self, absent: &Absent, end: End, request_id: RequestId) {
        match (absent, end) {
            (Absent::None(reason), End::Whole) => {
                let reason = format!("a whole answer came without a receipt: {reason}");
                self.latch.close(Doubt::new("receipt_missing", reason), Some(request_id));
            }
            (Absent::None(_), End::Left) => {}
            (Absent::Unknown(reason), End::Whole) => self.unproven(request_id, reason),
            (Absent::None(reason) | Absent::Unknown(reason), _) => {
                Event::Unproven { request_id, reason }.print();
            }
        }
    }

    fn unproven(&self, request_id: RequestId, reason: &str) {
        let count = self.unproven.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if count >= IN_A_ROW_MAX {
            let reason = format!("the receipts of {count} answers in a row could not be fetched");
            self.latch.close(Doubt::new("receipts_unavailable", reason), Some(request_id));
        } else {
            Event::Unproven { request_id, reason }.print();
        }
    }

    /// A gateway that lets no answer end may keep the part of each receipt unchecked that is about
    /// the answer.
    fn cut(&self, exchange: &Exchange) {
        let mut cuts = self.cuts();
        if cuts.last.is_some_and(|last| exchange.began <= last) {
            return;
        }
        cuts.last = Some(Instant::now());
        cuts.count = cuts.count.saturating_add(1);
        let count = cuts.count;
        drop(cuts);
        if count >= IN_A_ROW_MAX {
            let reason = format!("{count} answers in a row were cut off before their end");
            self.latch.close(Doubt::new("answers_cut", reason), Some(exchange.head.request_id));
        }
    }

    fn cuts(&self) -> std::sync::MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, exchange: &Exchange) -> Result<ReceiptFile, Absent> {
        let unknown = |error: &CliError| Absent::Unknown(error.to_string());
        let api = self.api.with_credential(&exchange.key).map_err(|error| unknown(&error))?;
        let until = Instant::now() + WAIT;
        loop {
            let is_over = Instant::now() >= until;
            match receipt::fetch(&api, exchange.head.request_id).await {
                Ok(file) => return Ok(file),
                Err(CliError::Refused(refusal)) if is_none(&refusal) => {
                    return Err(Absent::None(refusal.message));
                }
                Err(CliError::Refused(refusal)) if may_come(&refusal) && !is_over => {}
                Err(CliError::Unreachable { .. }) if !is_over => {}
                Err(error) => return Err(unknown(&error)),
            }
            sleep_until(Instant::now() + PAUSE).await;
        }
    }

    fn store(&self, file: &ReceiptFile, request_id: RequestId, end: &str) {
        let path = self.folder.join(format!("{request_id}.{end}"));
        let text = serde_json::to_string_pretty(file).expect("our own type is JSON");
        if let Err(error) = private_file::replace(&path, &(text + "\n")) {
            Event::Unstored { request_id, reason: &error.to_string() }.print();
        }
    }
}

/// The gateway itself says that there is none. Another 404, or a key that was revoked meanwhile,
/// says nothing about the receipt.
fn is_none(refusal: &Refusal) -> bool {
    let none = ["receipt_none", "receipt_late", "receipt_not_found"];
    refusal.status == 404 && refusal.code.as_deref().is_some_and(|code| none.contains(&code))
}

/// Not there yet, or the gateway is busy.
fn may_come(refusal: &Refusal) -> bool {
    let is_pending = refusal.code.as_deref() == Some("receipt_pending");
    is_pending || refusal.status == 429 || refusal.status >= 500
}
