//! What an answer cost, from the receipt that the worker signed about it.

use std::path::Path;

use cocoon_attest::receipt::ReceiptFile;
use cocoon_primitives::{Nano, RequestId};
use reqwest::header::HeaderMap;
use serde::Serialize;

use super::answer::Answer;
use crate::api::Api;
use crate::command::receipt;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

#[derive(Serialize)]
struct ChatReport<'a> {
    answer: &'a str,
    model: &'a str,
    finish_reason: Option<String>,
    usage: Option<TokenReport>,
    charge_nano: Option<Nano>,
    receipt_id: Option<RequestId>,
    /// Whether the receipt came and both its signatures verify.
    receipt_verified: bool,
    worker_id: Option<&'a str>,
    assurance: Option<&'a str>,
}

#[derive(Clone, Serialize)]
struct TokenReport {
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
}

/// The receipt, or why there is none. An answer stays an answer without one.
enum Bill {
    Verified {
        file: Box<ReceiptFile>,
        charge: Nano,
        usage: TokenReport,
    },
    Missing(CliError),
    /// The answer named no receipt: this is not a Cocoon gateway.
    Unnamed,
}

/// Fetches and checks the receipt, saves it where asked, prints tokens, price and assurance.
///
/// Fails when the receipt is refused, or when it was to be saved and cannot be.
pub(super) async fn settle(
    context: &Context,
    api: &Api,
    answer: &Answer,
    save_to: Option<&Path>,
) -> Result<(), CliError> {
    let id = header(&answer.headers, "cocoon-receipt-id").and_then(|id| id.parse().ok());
    let bill = match id {
        Some(id) => fetch(api, id).await?,
        None => Bill::Unnamed,
    };
    print(context, answer, id, &bill)?;
    match (save_to, bill) {
        (None, _) => Ok(()),
        (Some(path), Bill::Verified { file, .. }) => receipt::save(&file, path),
        (Some(_), Bill::Missing(error)) => Err(error),
        (Some(_), Bill::Unnamed) => Err(CliError::Answer("it names no receipt".into())),
    }
}

async fn fetch(api: &Api, id: RequestId) -> Result<Bill, CliError> {
    let file = match receipt::fetch(api, id).await {
        Ok(file) => file,
        Err(error) => return Ok(Bill::Missing(error)),
    };
    let core = receipt::check(&file, None)?.core;
    if core.request_id != id {
        return Err(CliError::Answer("it is the receipt of another request".into()));
    }
    let usage = TokenReport {
        prompt_tokens: core.usage.prompt,
        cached_tokens: core.usage.cached,
        completion_tokens: core.usage.completion,
        reasoning_tokens: core.usage.reasoning,
    };
    Ok(Bill::Verified { charge: receipt::charge(&core), file: Box::new(file), usage })
}

fn print(
    context: &Context,
    answer: &Answer,
    id: Option<RequestId>,
    bill: &Bill,
) -> Result<(), CliError> {
    let assurance = header(&answer.headers, "cocoon-assurance");
    let worker = header(&answer.headers, "cocoon-worker");
    if context.as_json {
        let (usage, charge_nano) = match bill {
            Bill::Verified { usage, charge, .. } => (Some(usage.clone()), Some(*charge)),
            Bill::Missing(_) | Bill::Unnamed => (told(answer), None),
        };
        return output::json(&ChatReport {
            answer: &answer.text,
            model: &answer.model,
            finish_reason: finish_name(answer),
            usage,
            charge_nano,
            receipt_id: id,
            receipt_verified: charge_nano.is_some(),
            worker_id: worker,
            assurance,
        });
    }
    let told = told(answer);
    let (usage, price, receipt) = match bill {
        Bill::Verified { usage, charge, .. } => (
            Some(usage),
            output::gram(*charge),
            "verified: worker and gateway signed it".to_owned(),
        ),
        Bill::Missing(error) => {
            (told.as_ref(), "not known yet".into(), format!("not there: {error}"))
        }
        Bill::Unnamed => (told.as_ref(), "not told".into(), "none".into()),
    };
    let tokens = usage.map(|usage| {
        format!("{} prompt + {} completion", usage.prompt_tokens, usage.completion_tokens)
    });
    let receipt = id.map_or(receipt.clone(), |id| format!("{id} ({receipt})"));
    let assurance = output::plain(assurance.unwrap_or("-"));
    output::note(&format!(
        "tokens     {}\nprice      {price}\nreceipt    {receipt}\nassurance  {assurance}",
        output::or_dash(tokens)
    ))
}

/// Usage as the answer itself told it.
fn told(answer: &Answer) -> Option<TokenReport> {
    let usage = answer.usage.as_ref()?;
    let cached = usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
    let reasoning =
        usage.completion_tokens_details.as_ref().and_then(|details| details.reasoning_tokens);
    Some(TokenReport {
        prompt_tokens: u64::from(usage.prompt_tokens),
        cached_tokens: u64::from(cached.unwrap_or_default()),
        completion_tokens: u64::from(usage.completion_tokens),
        reasoning_tokens: u64::from(reasoning.unwrap_or_default()),
    })
}

fn finish_name(answer: &Answer) -> Option<String> {
    serde_json::to_value(answer.finish?).ok()?.as_str().map(str::to_owned)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
