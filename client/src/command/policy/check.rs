//! `cocoon policy check`.

use std::path::PathBuf;

use clap::Args;
use cocoon_attest::policy::{ImageRow, Measured, Policy, PolicyError, SignatureFile, SignedPolicy};
use serde::Serialize;

use super::{read_policy, refused, signatures_beside};
use crate::command::attest::input;
use crate::context::Context;
use crate::error::CliError;
use crate::{output, time};

const SIGNATURES_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The policy, in TOML
    policy: PathBuf,
    /// Its signatures [default: POLICY.sig, where keys are given]
    #[arg(long, value_name = "FILE")]
    signatures: Option<PathBuf>,
    /// A public key whose signature counts; may be repeated
    #[arg(long = "key", value_name = "HEX")]
    keys: Vec<String>,
    /// How many of the keys must have signed [default: all of them]
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    /// The moment to check at, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    version: u64,
    digest: String,
    mode: cocoon_attest::policy::Mode,
    not_after: String,
    lease_seconds: u64,
    full_renewal_seconds: u64,
    on_revocation: cocoon_attest::policy::OnRevocation,
    insecure: Vec<&'static str>,
    signed_by: Vec<String>,
    signatures_checked: bool,
    images: Vec<Image<'a>>,
    gpus: Vec<String>,
    models: Vec<String>,
    machines: Vec<String>,
}

#[derive(Serialize)]
struct Image<'a> {
    name: &'a str,
    tee: &'static str,
    gpus: u32,
}

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<(), CliError> {
    let at = match &args.at {
        Some(text) => time::parse("--at", text)?,
        None => context.now(),
    };
    let file = read_policy(&args.policy)?;
    let keys = args.keys.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() && args.threshold.is_some() {
        return Err(argument("--threshold", "it counts keys: give --key too"));
    }
    let is_signed = !keys.is_empty() || args.signatures.is_some();
    let mut signed_by = Vec::new();
    let policy = if is_signed {
        let beside = signatures_beside(&args.policy);
        let path = args.signatures.as_ref().unwrap_or(&beside);
        let bytes = input::read(path, SIGNATURES_BYTES_MAX)?;
        let signatures = SignatureFile::parse(&bytes).map_err(|error| refused(&[error]))?;
        let known = |key: &&[u8; 32]| signatures.is_signed_by(&file, key);
        signed_by = signatures.keys().filter(known).map(hex::encode).collect();
        // Without keys it is only told who signed, which proves nothing about who they are.
        if keys.is_empty() {
            Policy::parse(&file)
        } else {
            SignedPolicy::verify(&file, &bytes, &keys, args.threshold.unwrap_or(keys.len()))
        }
    } else {
        Policy::parse(&file)
    };
    let policy = policy.map_err(|errors| refused(&errors))?;
    print(context, &policy, signed_by, !keys.is_empty())?;
    if at >= policy.not_after() { Err(refused(&[PolicyError::Expired])) } else { Ok(()) }
}

fn key(text: &str) -> Result<[u8; 32], CliError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|_| argument("--key", "it is not 64 hex digits"))?;
    Ok(key)
}

fn argument(what: &'static str, reason: &str) -> CliError {
    CliError::Argument { what, reason: reason.to_owned() }
}

fn print(
    context: &Context,
    policy: &Policy,
    signed_by: Vec<String>,
    signatures_checked: bool,
) -> Result<(), CliError> {
    let report = Report {
        version: policy.version(),
        digest: policy.digest().to_string(),
        mode: policy.mode(),
        not_after: time::utc(policy.not_after().as_seconds()),
        lease_seconds: policy.lease_life().as_secs(),
        full_renewal_seconds: policy.full_renewal().as_secs(),
        on_revocation: policy.on_revocation(),
        insecure: policy.insecure(),
        signed_by,
        signatures_checked,
        images: policy.images().iter().map(image).collect(),
        gpus: policy.gpus().iter().map(|row| format!("{:?}", row.architecture)).collect(),
        models: policy
            .models()
            .iter()
            .map(|row| format!("{} {}", row.name, row.manifest))
            .collect(),
        machines: policy.machines().iter().map(|row| row.id.to_string()).collect(),
    };
    if context.as_json { output::json(&report) } else { table(&report) }
}

fn image(row: &ImageRow) -> Image<'_> {
    let tee = match row.measured {
        Measured::Tdx(_) => "tdx",
        Measured::Snp(_) => "snp",
    };
    Image { name: &row.name, tee, gpus: row.gpus }
}

fn table(report: &Report<'_>) -> Result<(), CliError> {
    let signatures = match (report.signed_by.as_slice(), report.signatures_checked) {
        ([], _) => "not checked".to_owned(),
        (keys, true) => keys.join(" "),
        (keys, false) => format!("{} (not checked against any key)", keys.join(" ")),
    };
    let mode = match report.mode {
        cocoon_attest::policy::Mode::Development => "development",
        cocoon_attest::policy::Mode::Production => "production",
    };
    let on_revocation = match report.on_revocation {
        cocoon_attest::policy::OnRevocation::Finish => "running answers finish",
        cocoon_attest::policy::OnRevocation::Cut => "running answers are cut",
    };
    let mut rows = vec![
        ["version".to_owned(), report.version.to_string()],
        ["digest".to_owned(), report.digest.clone()],
        ["mode".to_owned(), mode.to_owned()],
        ["ends".to_owned(), report.not_after.clone()],
        ["lease".to_owned(), format!("{} s", report.lease_seconds)],
        ["evidence again".to_owned(), format!("every {} s", report.full_renewal_seconds)],
        ["on revocation".to_owned(), on_revocation.to_owned()],
        ["signed by".to_owned(), signatures],
    ];
    let mut list = |name: &str, entries: Vec<String>| {
        let entries = if entries.is_empty() { vec!["none".to_owned()] } else { entries };
        rows.extend(entries.into_iter().map(|entry| [name.to_owned(), output::plain(&entry)]));
    };
    if !report.insecure.is_empty() {
        list("INSECURE", report.insecure.iter().map(ToString::to_string).collect());
    }
    let described = |row: &Image<'_>| format!("{} ({}, {} GPUs)", row.name, row.tee, row.gpus);
    list("image", report.images.iter().map(described).collect());
    list("gpu", report.gpus.clone());
    list("model", report.models.clone());
    list("machine", report.machines.clone());
    output::table(&[], rows)
}
