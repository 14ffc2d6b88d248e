//! `cocoon login`: payload → ton_proof → session.

use clap::Args;
use cocoon_primitives::WalletAddress;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::CliError;
use crate::profile::Profile;
use crate::{output, time, wallet_file};

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The domain that the wallet signs for [default: the gateway's host; localhost for a
    /// loopback address]
    #[arg(long)]
    domain: Option<String>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Challenge {
    payload: String,
    attempt: String,
}

#[derive(Deserialize)]
struct Session {
    token: String,
    expires_at: u64,
}

#[derive(Serialize)]
struct LoginReport<'a> {
    wallet: WalletAddress,
    base_url: &'a str,
    expires_at: u64,
    profile: String,
}

pub(crate) async fn run(context: &Context, args: LoginArgs) -> Result<(), CliError> {
    let wallet = wallet_file::read(&context.wallet_path)?;
    let api = context.open_api()?;
    let domain = args.domain.unwrap_or_else(|| domain_of(api.base_url()));
    let challenge: Challenge = api.post("/auth/ton-proof/payload", &Nothing {}).await?;
    let proof = wallet
        .sign_proof(&challenge.attempt, &domain, context.now(), &challenge.payload)
        .ok_or_else(|| {
        CliError::Answer("it asks for a longer signature than ton_proof has".into())
    })?;
    let session: Session = api.post("/auth/ton-proof", &proof).await?;
    let profile = Profile {
        base_url: api.base_url().to_string(),
        wallet: wallet.address(),
        token: session.token,
        expires_at: session.expires_at,
    };
    profile.write(&context.profile_path)?;
    let report = LoginReport {
        wallet: profile.wallet,
        base_url: &profile.base_url,
        expires_at: profile.expires_at,
        profile: context.profile_path.display().to_string(),
    };
    if context.as_json {
        return output::json(&report);
    }
    output::table(
        &[],
        [
            ["signed in as", &report.wallet.to_string()],
            ["at", report.base_url],
            ["until", &time::utc(report.expires_at)],
            ["session in", &report.profile],
        ],
    )
}

/// What a browser would call this origin's host. Wallets sign for names, so every loopback
/// address is `localhost`.
fn domain_of(base_url: &Url) -> String {
    let host = base_url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match (is_loopback || host == "localhost", base_url.port()) {
        (true, _) => "localhost".into(),
        (false, Some(port)) => format!("{host}:{port}"),
        (false, None) => host.into(),
    }
}
