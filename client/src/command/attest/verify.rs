//! `cocoon attest verify`: evidence in, a verdict with every check out.
//!
//! Without a policy the scope is the vendor's: who made the hardware and in which state it is. With
//! one, its rules of this kind come on top, and the TCB status is the policy's to judge. What a quote
//! alone cannot prove, such as the models of a workload, is not judged here.
//! Invariants: exit 0 only where vendor and policy accept; a refusal prints the same report, and
//! then fails with its code; what cannot be judged at all, such as a missing file, is neither.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cocoon_attest::appraisal::Platform;
use cocoon_attest::policy::Policy;
use cocoon_attest::verify::{Check, Outcome, Refusal, SnpRoot, TdxRoot, Verdict, nvidia, snp, tdx};
use cocoon_primitives::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{input, rules};
use crate::context::Context;
use crate::error::CliError;
use crate::trust::policy;
use crate::{output, time};

/// Evidence of eight devices with their chains, in JSON, has 100 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const NONCE_BYTES_MAX: usize = 64;
const VENDOR_FIRST: &str = "the vendor's side was refused";

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
    /// A policy: its rules for this kind hold too. Of tdx and snp these are the TCB, the guest's
    /// settings, the machine and the image's measurements, of nvidia architecture, driver, VBIOS,
    /// mode and golden measurements; revocations of all. Its signatures are not asked for
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// For snp: the vendor's revocation list in DER, which a policy asks for
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// The moment to judge at, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// By whose rules evidence is judged.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    Vendor,
    Policy,
}

impl Scope {
    const fn of(policy: Option<&Policy>) -> Self {
        match policy {
            None => Self::Vendor,
            Some(_) => Self::Policy,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Policy => "policy",
        }
    }
}

#[derive(Serialize)]
struct Report<B> {
    kind: &'static str,
    scope: Scope,
    at: String,
    #[serde(flatten)]
    body: B,
}

/// One verdict.
#[derive(Serialize)]
struct Judged<'a, C> {
    accepted: bool,
    refusal: Option<RefusalReport>,
    checks: Vec<Check>,
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
    let policy = args.policy.as_deref().map(policy::unsigned).transpose()?;
    let policy = policy.as_ref();
    if args.crl.is_some() && args.kind != Kind::Snp {
        return Err(argument("--crl", "only evidence of snp takes one"));
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
            let verdict = match policy {
                // The TCB status is then the policy's to judge.
                Some(_) => {
                    tdx::appraise_for_policy(TdxRoot::Intel, &evidence, &collateral, nonce, at)
                }
                None => tdx::appraise(&evidence, &collateral, nonce, at),
            };
            let verdict = verdict.map_err(|error| unusable(&args.file, &error))?;
            let platform = |claims: &tdx::Claims| Platform::Tdx(Box::new(claims.clone()));
            let ruled = judged(&verdict)
                .under(policy, |policy, claims| rules::of_guest(policy, &platform(claims), at));
            conclude(context, "tdx", Scope::of(policy), at, ruled)
        }
        Kind::Snp => {
            let path = collateral_path(args, "the certificate of the chip's key in DER")?;
            let vcek = input::read(path, FILE_BYTES_MAX)?;
            let crl = args.crl.as_deref().map(|path| input::read(path, FILE_BYTES_MAX));
            let crl = crl.transpose()?;
            let verdict =
                snp::appraise_under(SnpRoot::Amd, &evidence, &vcek, crl.as_deref(), nonce, at)
                    .map_err(|error| unusable(&args.file, &error))?;
            let platform = |claims: &snp::Claims| Platform::Snp(Box::new(claims.clone()));
            let ruled = judged(&verdict)
                .under(policy, |policy, claims| rules::of_guest(policy, &platform(claims), at));
            conclude(context, "snp", Scope::of(policy), at, ruled)
        }
        Kind::Nvidia => nvidia(context, args, &evidence, at, nonce, policy),
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
    policy: Option<&Policy>,
) -> Result<(), CliError> {
    let nonce = nonce
        .map(<&[u8; 32]>::try_from)
        .transpose()
        .map_err(|_| argument("--nonce", "a device's nonce has 32 bytes"))?;
    let scope = Scope::of(policy);
    let rule = |policy: &Policy, claims: &nvidia::Claims| rules::of_device(policy, claims, at);
    // A report starts with 0x11, the version of its protocol.
    if evidence.trim_ascii_start().first() != Some(&b'[') {
        let path = collateral_path(args, "the chain in PEM")?;
        let chain = input::read(path, FILE_BYTES_MAX)?;
        let verdict = nvidia::appraise(evidence, &chain, nonce, at)
            .map_err(|error| unusable(&args.file, &error))?;
        return conclude(context, "nvidia", scope, at, judged(&verdict).under(policy, rule));
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
    let devices: Vec<_> =
        verdicts.iter().map(|verdict| judged(verdict).under(policy, rule)).collect();
    let accepted = !devices.is_empty() && devices.iter().all(|device| device.accepted);
    let report = report("nvidia", scope, at, Devices { accepted, devices });
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
        checks: verdict.checks().to_vec(),
        claims: verdict.claims(),
    }
}

impl<C> Judged<'_, C> {
    /// What the vendor accepts, judged by a policy too; the rules do not run on anything else.
    fn under(
        mut self,
        policy: Option<&Policy>,
        rules: impl FnOnce(&Policy, &C) -> Vec<rules::Ruled>,
    ) -> Self {
        let (Some(policy), Some(claims)) = (policy, self.claims) else { return self };
        if !self.accepted {
            self.checks.push(Check { name: "policy", outcome: Outcome::NotChecked(VENDOR_FIRST) });
            return self;
        }
        for rules::Ruled { name, fault } in rules(policy, claims) {
            let outcome = if fault.is_none() { Outcome::Passed } else { Outcome::Refused };
            self.checks.push(Check { name, outcome });
            if let Some(fault) = fault {
                self.accepted = false;
                let message = output::plain(&fault.to_string());
                self.refusal.get_or_insert(RefusalReport { code: fault.code(), message });
            }
        }
        self
    }
}

fn report<B>(kind: &'static str, scope: Scope, at: Timestamp, body: B) -> Report<B> {
    Report { kind, scope, at: time::utc(at.as_seconds()), body }
}

/// Prints one verdict; a refusal is an error on top.
fn conclude<C: Serialize>(
    context: &Context,
    kind: &'static str,
    scope: Scope,
    at: Timestamp,
    judged: Judged<'_, C>,
) -> Result<(), CliError> {
    let report = report(kind, scope, at, judged);
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
    output::line(&format!("{verdict} (scope: {}, at {})", report.scope.as_str(), report.at))
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
