//! `cocoon attest verify`: evidence in, a verdict with every check out.
//!
//! Invariants: exit 0 only where the vendor's policy accepts; a refusal prints the same report, and
//! then fails with its code; what cannot be judged at all, such as a missing file, is neither.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cocoon_attest::verify::{Check, Outcome, Refusal, Verdict, nvidia, snp, tdx};
use cocoon_primitives::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::input;
use crate::context::Context;
use crate::error::CliError;
use crate::{output, time};

/// Evidence of eight devices with their chains, in JSON, has 100 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const NONCE_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A quote of Intel TDX
    Tdx,
    /// A report of AMD SEV-SNP
    Snp,
    /// Reports of NVIDIA GPUs and switches
    Nvidia,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The evidence, in binary or hex, or - for standard input
    file: PathBuf,
    /// Whose evidence it is
    #[arg(long, value_enum)]
    kind: Kind,
    /// What the vendor says about it: for tdx the collateral in JSON, for snp the certificate of the
    /// chip's key in DER, for nvidia the chain in PEM, unless FILE is the JSON that holds it
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// The nonce that the evidence must carry; without it the evidence may be old
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// A policy on what runs there; not supported yet, so that only the vendor's side is judged
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The moment to judge at, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Serialize)]
struct Report<B> {
    kind: &'static str,
    scope: &'static str,
    at: String,
    #[serde(flatten)]
    body: B,
}

/// One verdict.
#[derive(Serialize)]
struct Judged<'a, C> {
    accepted: bool,
    refusal: Option<RefusalReport>,
    checks: &'a [Check],
    claims: Option<&'a C>,
}

/// The verdicts on several devices: accepted where all of them are.
#[derive(Serialize)]
struct Devices<'a, C> {
    accepted: bool,
    devices: Vec<Judged<'a, C>>,
}

#[derive(Serialize)]
struct RefusalReport {
    code: &'static str,
    message: String,
}

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    if args.policy.is_some() {
        return Err(argument("--policy", "policies are not supported yet; leave it out"));
    }
    let at = match &args.at {
        Some(text) => time::parse("--at", text)?,
        None => context.now(),
    };
    let nonce = args.nonce.as_deref().map(nonce_of).transpose()?;
    let nonce = nonce.as_deref();
    let evidence = input::decoded(input::read(&args.file, FILE_BYTES_MAX)?);
    match args.kind {
        Kind::Tdx => {
            let path = collateral_path(args, "the collateral in JSON")?;
            let collateral = tdx::Collateral::parse(&input::read(path, FILE_BYTES_MAX)?)
                .map_err(|error| unusable(path, &error))?;
            let verdict = tdx::appraise(&evidence, &collateral, nonce, at)
                .map_err(|error| unusable(&args.file, &error))?;
            conclude(context, "tdx", at, &verdict)
        }
        Kind::Snp => {
            let path = collateral_path(args, "the certificate of the chip's key in DER")?;
            let vcek = input::read(path, FILE_BYTES_MAX)?;
            let verdict = snp::appraise(&evidence, &vcek, nonce, at)
                .map_err(|error| unusable(&args.file, &error))?;
            conclude(context, "snp", at, &verdict)
        }
        Kind::Nvidia => nvidia(context, args, &evidence, at, nonce),
    }
}

fn collateral_path<'a>(args: &'a VerifyArgs, what: &str) -> Result<&'a Path, CliError> {
    let missing = || argument("--collateral", &format!("this kind needs {what}"));
    args.collateral.as_deref().ok_or_else(missing)
}

fn nonce_of(text: &str) -> Result<Vec<u8>, CliError> {
    match hex::decode(text) {
        Ok(nonce) if (1..=NONCE_BYTES_MAX).contains(&nonce.len()) => Ok(nonce),
        _ => Err(argument("--nonce", "expected 1 to 64 bytes in hex")),
    }
}

fn argument(what: &'static str, reason: &str) -> CliError {
    CliError::Argument { what, reason: reason.into() }
}

/// The file, and why, with its causes.
fn unusable(path: &Path, error: &dyn std::error::Error) -> CliError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    CliError::Content { path: path.into(), reason }
}

fn nvidia(
    context: &Context,
    args: &VerifyArgs,
    evidence: &[u8],
    at: Timestamp,
    nonce: Option<&[u8]>,
) -> Result<(), CliError> {
    let nonce = nonce
        .map(<&[u8; 32]>::try_from)
        .transpose()
        .map_err(|_| argument("--nonce", "a device's nonce has 32 bytes"))?;
    // A report starts with 0x11, the version of its protocol.
    if evidence.trim_ascii_start().first() != Some(&b'[') {
        let path = collateral_path(args, "the chain in PEM")?;
        let chain = input::read(path, FILE_BYTES_MAX)?;
        let verdict = nvidia::appraise(evidence, &chain, nonce, at)
            .map_err(|error| unusable(&args.file, &error))?;
        return conclude(context, "nvidia", at, &verdict);
    }
    if args.collateral.is_some() {
        return Err(argument("--collateral", "this file holds its devices' chains; leave it out"));
    }
    let verdicts = nvidia::evidence::read(evidence)
        .map_err(|error| unusable(&args.file, &error))?
        .iter()
        .map(|device| nvidia::appraise(&device.report, &device.chain, nonce, at))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&args.file, &error))?;
    let devices: Vec<_> = verdicts.iter().map(judged).collect();
    let accepted = !devices.is_empty() && devices.iter().all(|device| device.accepted);
    let report = report("nvidia", at, Devices { accepted, devices });
    if context.as_json {
        output::json(&report)?;
    } else {
        for device in &report.body.devices {
            print(device)?;
        }
        print_end(&report, accepted)?;
    }
    let refusal = report.body.devices.into_iter().find_map(|device| device.refusal);
    outcome(accepted, refusal)
}

fn judged<C, R: Refusal>(verdict: &Verdict<C, R>) -> Judged<'_, C> {
    let refusal = verdict.refusal().map(|reason| RefusalReport {
        code: reason.code(),
        message: output::plain(&reason.to_string()),
    });
    Judged {
        accepted: verdict.accepted().is_some(),
        refusal,
        checks: verdict.checks(),
        claims: verdict.claims(),
    }
}

fn report<B>(kind: &'static str, at: Timestamp, body: B) -> Report<B> {
    Report { kind, scope: "vendor", at: time::utc(at.as_seconds()), body }
}

/// Prints one verdict; a refusal is an error on top.
fn conclude<C: Serialize, R: Refusal>(
    context: &Context,
    kind: &'static str,
    at: Timestamp,
    verdict: &Verdict<C, R>,
) -> Result<(), CliError> {
    let report = report(kind, at, judged(verdict));
    if context.as_json {
        output::json(&report)?;
    } else {
        print(&report.body)?;
        print_end(&report, report.body.accepted)?;
    }
    outcome(report.body.accepted, report.body.refusal)
}

fn outcome(accepted: bool, refusal: Option<RefusalReport>) -> Result<(), CliError> {
    match refusal {
        None if accepted => Ok(()),
        None => Err(CliError::Evidence { code: "no_claims", reason: "nothing was proven".into() }),
        Some(refusal) => Err(CliError::Evidence { code: refusal.code, reason: refusal.message }),
    }
}

fn print<C: Serialize>(judged: &Judged<'_, C>) -> Result<(), CliError> {
    output::table(
        &["CHECK", "RESULT", ""],
        judged.checks.iter().map(|check| {
            let why = match check.outcome {
                Outcome::NotChecked(why) => why,
                Outcome::Passed | Outcome::Refused => "",
            };
            [check.name, check.outcome.as_str(), why]
        }),
    )?;
    output::line("")?;
    if let Some(claims) = judged.claims {
        let claims = serde_json::to_value(claims).expect("our own types are JSON");
        output::table(&["CLAIM", "VALUE"], rows(&claims))?;
        output::line("")?;
    }
    Ok(())
}

fn print_end<B>(report: &Report<B>, accepted: bool) -> Result<(), CliError> {
    let verdict = if accepted { "accepted" } else { "refused" };
    output::line(&format!("{verdict} (scope: {}, at {})", report.scope, report.at))
}

/// One row per field that has a value.
fn rows(claims: &Value) -> Vec<[String; 2]> {
    let fields = claims.as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| [name.replace('_', " "), shown(value)])
        .collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => output::plain(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => output::plain(&other.to_string()),
    }
}
