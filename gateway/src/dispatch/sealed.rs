//! Requests that are sealed to workers: what their clear headers tell, and what is sent on.
//!
//! The body is opaque here. Model, limits, price and end come from the headers, which the seal
//! binds: a worker refuses the request where one of them was changed. The request's id is the
//! client's own, so that a request that is sent twice is charged once. Of the answer, frames are
//! passed on as they are; there is nothing that a gateway could add to them but empty ones.
//! Source: `docs/sealed-requests.md`.

use std::sync::Arc;

use bytes::Bytes;
use cocoon_attest::receipt::pay_commitment;
use cocoon_fleet::ServedModel;
use cocoon_metering::{PriceRow, prompt_bound, quote};
use cocoon_openai_wire::peek::{CHOICES_MAX, INPUTS_MAX};
use cocoon_primitives::{Timestamp, TokenCount, WalletAddress, WorkerId};
use cocoon_seal::{Head, HeadError, SealKeys, headers};
use http::{HeaderMap, HeaderValue};

use super::error::DispatchError;
use super::limits::DispatchLimits;
use super::plan::{Plan, choice_max};
use super::prices::ModelPrice;

/// An empty frame: no part of the answer.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(&cocoon_seal::KEEP_ALIVE);

/// How many choices are assumed of a request that does not tell, where the wallet's rate is at stake.
/// Most have one; with the most that are possible, a rate would be used up by honest requests.
const READINGS_MAX: u32 = 4;

/// What a sealed request tells.
#[derive(Debug, Clone)]
pub struct SealedCall {
    pub head: Head,
    pub keys: SealKeys,
    /// Opens the commitment to the payer; it goes to no worker.
    pub pay_blind: [u8; 32],
}

impl SealedCall {
    /// Reads the headers of a sealed request; `None` where it is a clear one.
    pub fn read(path: &str, headers: &HeaderMap) -> Result<Option<Arc<Self>>, DispatchError> {
        if !headers.contains_key(headers::E2EE) {
            return Ok(None);
        }
        let get = |name: &str| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())?.to_str().ok()
        };
        if get(headers::E2EE) != Some("1") {
            return Err(invalid("The header cocoon-e2ee must be 1, the only version."));
        }
        let head = Head::read(path, get).map_err(about)?;
        let keys = get(headers::SEAL_KEYS).and_then(|text| text.parse().ok());
        let keys = keys.ok_or_else(|| invalid("The header cocoon-seal-keys is not valid."))?;
        let mut pay_blind = [0; 32];
        get(headers::PAY_BLIND)
            .and_then(|text| hex::decode_to_slice(text, &mut pay_blind).ok())
            .ok_or_else(|| invalid("The header cocoon-pay-blind must be 64 hex digits."))?;
        Ok(Some(Arc::new(Self { head, keys, pay_blind })))
    }

    /// The workers that can open it, in the client's order.
    pub(crate) fn workers(&self) -> Vec<WorkerId> {
        self.keys.worker_ids().collect()
    }

    /// Refuses what does not hold together, before anything is reserved.
    pub(crate) fn check(
        &self,
        wallet: &WalletAddress,
        now: Timestamp,
    ) -> Result<(), DispatchError> {
        let head = &self.head;
        head.check_time(now).map_err(about)?;
        let commitment = pay_commitment(wallet, 0, head.request_id, None, &self.pay_blind);
        if commitment != head.pay_commit {
            let message = "The payer's commitment is not of this key's wallet and blind.";
            return Err(refused("pay_commitment_mismatch", message));
        }
        Ok(())
    }

    /// Its limits as the client stated them: a request that is over ours is refused, because a
    /// worker takes no other numbers than the sealed ones. Money is set aside for what is stated.
    /// What a worker may have to do before it sees that the statement is wrong, and how many
    /// choices share the tokens, is not; the wallet's rate covers the most of it.
    pub(crate) fn plan(
        &self,
        price: &ModelPrice,
        served: &ServedModel,
        body_bytes: usize,
        limits: &DispatchLimits,
    ) -> Result<Plan, DispatchError> {
        let head = &self.head;
        let choices_max = limits.choices_max.min(CHOICES_MAX);
        let most =
            choice_max(price, served.context_length, limits).saturating_mul(u64::from(choices_max));
        if u64::from(head.max_tokens) > most {
            let message = format!("{} must be at most {most} for this model.", headers::MAX_TOKENS);
            return Err(refused("sealed_limit_exceeded", &message));
        }
        let prompts = u64::from(limits.prompts_max.min(INPUTS_MAX));
        let contexts = served.context_length.saturating_mul(prompts);
        if head.max_prompt_tokens > contexts {
            let message = format!("{} is more than the model reads.", headers::MAX_PROMPT_TOKENS);
            return Err(refused("sealed_limit_exceeded", &message));
        }
        let row = &price.row;
        let asked = [row.prompt, row.cached, row.completion];
        let is_within = |(price, cap): (&cocoon_primitives::TokenPrice, &u64)| {
            price.nano_per_million().get() <= *cap
        };
        if !asked.iter().zip(&head.max_price).all(is_within) {
            return Err(above_limit(row));
        }
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let allowance = TokenCount::new(limits.template_allowance_tokens);
        let readable = prompt_bound(TokenCount::new(contexts), body_bytes, allowance);
        let completion = TokenCount::new(u64::from(head.max_tokens));
        let amount = quote(row, TokenCount::new(head.max_prompt_tokens), completion);
        Ok(Plan {
            price: *row,
            prompt_max: head.max_prompt_tokens,
            completion_max: head.max_tokens,
            prompt_work: head.max_prompt_tokens.max(readable.get()),
            // Each choice has one token at least.
            readings: head.max_tokens.max(1).min(choices_max).min(READINGS_MAX),
            amount,
        })
    }

    /// What the worker gets besides the headers of every request.
    pub(crate) fn write_head(&self, map: &mut HeaderMap) {
        let text = |value: String| {
            HeaderValue::try_from(value).expect("ids, numbers, hex and base64 are visible ASCII")
        };
        for (name, value) in self.head.write() {
            map.insert(name, text(value));
        }
        map.insert(headers::SEAL_KEYS, text(self.keys.to_string()));
        map.insert(headers::E2EE, HeaderValue::from_static("1"));
    }
}

fn about(error: HeadError) -> DispatchError {
    invalid(&format!("{}.", capital(&error.to_string())))
}

fn invalid(message: &str) -> DispatchError {
    refused("invalid_sealed_request", message)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    head + chars.as_str()
}

/// For who meets an id that another wallet has used.
pub(crate) fn taken() -> DispatchError {
    invalid("The header cocoon-request-id cannot be used: choose another one.")
}

fn above_limit(row: &PriceRow) -> DispatchError {
    let nano = |price: cocoon_primitives::TokenPrice| price.nano_per_million().get();
    let message = format!(
        "The model costs {},{},{} nano-coins per million tokens (prompt, cached, completion), more than {} allows.",
        nano(row.prompt),
        nano(row.cached),
        nano(row.completion),
        headers::MAX_PRICE
    );
    refused("price_above_limit", &message)
}

fn refused(code: &'static str, message: &str) -> DispatchError {
    DispatchError::InvalidRequest { message: message.to_owned(), param: None, code }
}

#[cfg(test)]
mod tests {
    use cocoon_primitives::{Assurance, ModelKind};

    use super::*;
    use crate::dispatch::fixture;

    /// Money goes by what is stated, the rate by what a worker may have to do.
    #[test]
    fn the_rate_covers_what_the_headers_do_not_tell() {
        let served = ServedModel {
            name: "tiny-demo".parse().unwrap(),
            kind: ModelKind::Chat,
            context_length: 4096,
            assurance: Assurance::Software,
            workers: 1,
            is_demo: false,
            owned_by: String::new(),
        };
        let price = ModelPrice { row: fixture::price(), completion_tokens_max: None };
        let limits = DispatchLimits {
            choices_max: 8,
            template_allowance_tokens: 100,
            ..DispatchLimits::STANDARD
        };
        for (max_prompt_tokens, max_tokens, body_bytes, prompt_work, readings) in [
            (1, 1, 1000, 1100, 1),
            (1, 0, 1000, 1100, 1),
            (2000, 3, 1000, 2000, 3),
            (2000, 500, 1000, 2000, READINGS_MAX),
        ] {
            let mut call = SealedCall::clone(&fixture::sealed_call());
            call.head.max_prompt_tokens = max_prompt_tokens;
            call.head.max_tokens = max_tokens;
            let plan = call.plan(&price, &served, body_bytes, &limits).unwrap();
            assert_eq!((plan.prompt_work, plan.readings), (prompt_work, readings));
            let completion = u64::from(max_tokens);
            assert_eq!(plan.work_max(), prompt_work * u64::from(readings) + completion);
            assert_eq!(plan.work_stated(), max_prompt_tokens + completion);
            assert_eq!(plan.amount.get(), max_prompt_tokens + 2 * completion);
        }
    }
}
