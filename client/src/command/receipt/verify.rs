//! `cocoon receipt verify`: both signatures, the path between them, and the price, offline.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use cocoon_attest::receipt::{FileError, ReceiptCore, ReceiptFile, VerifiedFile, verify_file};
use cocoon_metering::{PriceRow, Usage, split};
use cocoon_primitives::{Nano, TokenCount};
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;
use crate::{output, time};

/// A receipt has less than 8 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The receipt's file, or - for standard input
    file: PathBuf,
    /// The gateway's receipt key, in hex; without it any gateway's signature counts, and the
    /// key is shown
    #[arg(long, value_name = "HEX")]
    gateway_key: Option<String>,
}

#[derive(Serialize)]
struct VerifyReport {
    accepted: bool,
    gateway_key: String,
    gateway_key_pinned: bool,
    charge_nano: Nano,
    commission_nano: Nano,
    receipt: CoreReport,
}

#[derive(Serialize)]
struct CoreReport {
    request_id: String,
    attempt: u32,
    chat_id: String,
    model: String,
    worker_id: String,
    lease_id: String,
    assurance: &'static str,
    finish: &'static str,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    max_prompt_tokens: u64,
    max_completion_tokens: u64,
    price_prompt_nano: Nano,
    price_cached_nano: Nano,
    price_completion_nano: Nano,
    payee: String,
    commission_bp: u16,
    started_at: u64,
    ended_at: u64,
    payer: Option<String>,
    evidence_digest: String,
    policy_digest: String,
    model_manifest_digest: String,
    request_commitment: String,
    response_commitment: String,
}

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    let pinned = args.gateway_key.as_deref().map(key_of).transpose()?;
    let file = read(&args.file)?;
    let verified = match check(&file, pinned.as_ref()) {
        Err(CliError::Receipt(FileError::Field(field))) => {
            let reason = format!("its field {field} is not valid");
            return Err(CliError::Content { path: args.file.clone(), reason });
        }
        other => other?,
    };
    let charge = charge(&verified.core);
    let report = VerifyReport {
        accepted: true,
        gateway_key: hex::encode(verified.gateway_key),
        gateway_key_pinned: pinned.is_some(),
        charge_nano: charge,
        commission_nano: split(charge, verified.core.terms.commission_bp).commission,
        receipt: CoreReport::of(&verified),
    };
    if context.as_json { output::json(&report) } else { print(&report) }
}

/// Checks a file; every refusal is a [`CliError::Receipt`].
pub(crate) fn check(
    file: &ReceiptFile,
    pinned: Option<&[u8; 32]>,
) -> Result<VerifiedFile, CliError> {
    verify_file(file, pinned).map_err(CliError::Receipt)
}

/// What the tokens cost at the prices that the worker signed.
pub(crate) fn charge(core: &ReceiptCore) -> Nano {
    let price = &core.terms.price;
    let price =
        PriceRow { prompt: price.prompt, cached: price.cached, completion: price.completion };
    let usage = Usage {
        prompt: TokenCount::new(core.usage.prompt),
        cached: TokenCount::new(core.usage.cached),
        completion: TokenCount::new(core.usage.completion),
        reasoning: TokenCount::new(core.usage.reasoning),
    };
    cocoon_metering::charge(&price, &usage)
}

/// A receipt key from its hex.
pub(crate) fn key_of(text: &str) -> Result<[u8; 32], CliError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| CliError::Argument {
        what: "--gateway-key",
        reason: "expected 64 hex digits".into(),
    })?;
    Ok(key)
}

/// A receipt's file, or standard input for `-`.
pub(super) fn read(path: &Path) -> Result<ReceiptFile, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.into(), source };
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    }
    serde_json::from_slice(&bytes).map_err(|error| CliError::Content {
        path: path.into(),
        reason: format!("it is not a receipt file ({error})"),
    })
}

impl CoreReport {
    fn of(verified: &VerifiedFile) -> Self {
        let VerifiedFile { core, account, .. } = verified;
        let terms = &core.terms;
        Self {
            request_id: core.request_id.to_string(),
            attempt: core.attempt,
            chat_id: output::plain(&core.chat_id),
            model: core.model.to_string(),
            worker_id: core.worker_id.to_string(),
            lease_id: core.lease_id.to_string(),
            assurance: core.assurance.as_str(),
            finish: core.finish.as_str(),
            prompt_tokens: core.usage.prompt,
            cached_tokens: core.usage.cached,
            completion_tokens: core.usage.completion,
            reasoning_tokens: core.usage.reasoning,
            max_prompt_tokens: terms.max_prompt_tokens,
            max_completion_tokens: terms.max_completion_tokens,
            price_prompt_nano: terms.price.prompt.nano_per_million(),
            price_cached_nano: terms.price.cached.nano_per_million(),
            price_completion_nano: terms.price.completion.nano_per_million(),
            payee: terms.payee.to_string(),
            commission_bp: terms.commission_bp,
            started_at: core.started_s,
            ended_at: core.ended_s,
            payer: account.map(|account| account.to_string()),
            evidence_digest: core.evidence_digest.to_string(),
            policy_digest: core.policy_digest.to_string(),
            model_manifest_digest: core.model_manifest_digest.to_string(),
            request_commitment: hex::encode(core.req_commit),
            response_commitment: hex::encode(core.resp_commit),
        }
    }
}

fn print(report: &VerifyReport) -> Result<(), CliError> {
    let core = &report.receipt;
    let price = [core.price_prompt_nano, core.price_cached_nano, core.price_completion_nano];
    let [prompt, cached, completion] = price.map(Nano::to_gram);
    let rows = [
        ("request", format!("{} (attempt {})", core.request_id, core.attempt)),
        ("completion id", core.chat_id.clone()),
        ("model", core.model.clone()),
        ("worker", core.worker_id.clone()),
        ("lease", core.lease_id.clone()),
        ("assurance", core.assurance.to_owned()),
        ("finish", core.finish.to_owned()),
        (
            "prompt tokens",
            format!(
                "{} ({} cached), limit {}",
                core.prompt_tokens, core.cached_tokens, core.max_prompt_tokens
            ),
        ),
        (
            "completion tokens",
            format!(
                "{} ({} reasoning), limit {}",
                core.completion_tokens, core.reasoning_tokens, core.max_completion_tokens
            ),
        ),
        ("price per million", format!("{prompt} prompt, {cached} cached, {completion} completion")),
        ("charge", format!("{} ({})", output::gram(report.charge_nano), report.charge_nano)),
        ("payee", format!("{}, commission {} bp", core.payee, core.commission_bp)),
        ("payer", output::or_dash(core.payer.as_ref())),
        ("started", time::utc(core.started_at)),
        ("ended", time::utc(core.ended_at)),
        ("evidence", core.evidence_digest.clone()),
        ("policy", core.policy_digest.clone()),
        ("model manifest", core.model_manifest_digest.clone()),
        ("request commitment", core.request_commitment.clone()),
        ("answer commitment", core.response_commitment.clone()),
        ("gateway key", report.gateway_key.clone()),
    ];
    output::table(&[], rows.map(|(name, value)| [name.to_owned(), value]))?;
    output::line("accepted: the worker's and the gateway's signatures verify")?;
    if !report.gateway_key_pinned {
        output::note("The gateway's key was not pinned: compare it, or use --gateway-key.")?;
    }
    if core.assurance == "software" {
        output::note("Software assurance: no hardware vouches for this worker.")?;
    }
    Ok(())
}
