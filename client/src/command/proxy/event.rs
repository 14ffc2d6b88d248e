//! What the proxy tells its user: one line for each event.

use std::sync::atomic::{AtomicBool, Ordering};

use cocoon_primitives::{Assurance, Nano, RequestId};
use serde::Serialize;

use crate::output;

/// Set once, before the first event.
static AS_JSON: AtomicBool = AtomicBool::new(false);

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    Listening {
        base_url: &'a str,
        gateway: &'a str,
        workers: usize,
    },
    /// A worker that is listed and not used, or a gateway that cannot be asked now.
    Notice {
        code: &'a str,
        reason: &'a str,
    },
    Receipt {
        request_id: RequestId,
        prompt_tokens: u64,
        completion_tokens: u64,
        #[serde(rename = "charge_nano")]
        charge: Nano,
        assurance: Assurance,
        /// Whether its commitment to the answer was held to what came: of an answer that was cut or
        /// left, it cannot be.
        answer_checked: bool,
    },
    /// What a request cost is not proven.
    Unproven {
        request_id: RequestId,
        reason: &'a str,
    },
    Unstored {
        request_id: RequestId,
        reason: &'a str,
    },
    /// From here on every request is refused.
    Doubt {
        code: &'a str,
        reason: &'a str,
        request_id: Option<RequestId>,
    },
    Draining,
}

pub(super) fn as_json(as_json: bool) {
    AS_JSON.store(as_json, Ordering::Relaxed);
}

impl Event<'_> {
    /// Whoever closed our output does not want to know.
    pub(super) fn print(&self) {
        let text = match AS_JSON.load(Ordering::Relaxed) {
            true => serde_json::to_string(self).expect("our own type is JSON"),
            false => self.text(),
        };
        let _ = output::line(&text);
    }

    fn text(&self) -> String {
        match self {
            Self::Listening { base_url, gateway, workers } => format!(
                "listening on {base_url}: sealed to {workers} admitted workers of {gateway}"
            ),
            Self::Notice { code, reason } => format!("note: {} ({code})", output::plain(reason)),
            Self::Receipt {
                request_id,
                prompt_tokens,
                completion_tokens,
                charge,
                assurance,
                answer_checked,
            } => {
                let but =
                    if *answer_checked { "" } else { ", but for the answer, which broke off" };
                format!(
                    "{request_id} verified{but}: {prompt_tokens} + {completion_tokens} tokens, {}, \
                     {assurance}",
                    output::gram(*charge)
                )
            }
            Self::Unproven { request_id, reason } => {
                format!("{request_id} unproven: {}", output::plain(reason))
            }
            Self::Unstored { request_id, reason } => {
                format!("{request_id}: its receipt was not stored: {}", output::plain(reason))
            }
            Self::Doubt { code, reason, request_id } => format!(
                "REFUSING ALL REQUESTS{}: {} ({code})",
                request_id.map_or_else(String::new, |id| format!(" since {id}")),
                output::plain(reason)
            ),
            Self::Draining => "finishing what is open; again to stop at once".into(),
        }
    }
}
