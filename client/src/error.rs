//! Every way to fail, with an exit code and a next step.

use std::path::PathBuf;

use cocoon_attest::receipt::FileError;
use cocoon_primitives::ParseError;

use crate::api::Refusal;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{what} is not usable: {reason}")]
    Argument { what: &'static str, reason: String },
    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is not usable: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    #[error("no credential for {base_url}")]
    NoCredential { base_url: String },
    #[error("cannot write to the output")]
    Output(#[from] std::io::Error),
    #[error("refused by the gateway ({}): {}", .0.status, .0.message)]
    Refused(Box<Refusal>),
    #[error("receipt refused")]
    Receipt(#[source] FileError),
    #[error("evidence refused: {reason}")]
    Evidence { code: &'static str, reason: String },
    #[error("audit refused: {reason}")]
    Audit { code: &'static str, reason: String },
    #[error("policy refused:\n  {reason}")]
    Policy { code: &'static str, reason: String },
    #[error("cannot reach {base_url}")]
    Unreachable { base_url: String, source: reqwest::Error },
    #[error("the answer broke off before its end: {reason}")]
    BrokenOff { reason: String },
    #[error("the gateway's answer has another shape than expected")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. }
            | Self::File { .. }
            | Self::Content { .. }
            | Self::NoCredential { .. }
            | Self::Output(_)
            | Self::Answer(_) => 1,
            Self::Refused(_)
            | Self::Receipt(_)
            | Self::Evidence { .. }
            | Self::Audit { .. }
            | Self::Policy { .. } => 2,
            Self::Unreachable { .. } | Self::BrokenOff { .. } => 3,
        }
    }

    /// What this is called in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Argument { .. } => "argument",
            Self::File { .. } => "file",
            Self::Content { .. } => "content",
            Self::NoCredential { .. } => "no_credential",
            Self::Output(_) => "output",
            Self::Refused(_) => "refused",
            Self::Receipt(_) => "receipt",
            Self::Evidence { .. } => "evidence",
            Self::Audit { .. } => "audit",
            Self::Policy { .. } => "policy",
            Self::Unreachable { .. } => "unreachable",
            Self::BrokenOff { .. } => "broken_off",
            Self::Answer(_) => "answer",
        }
    }

    /// What to do next, where there is something to do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File { path, source, .. }
                if source.kind() == std::io::ErrorKind::NotFound && is_wallet(path) =>
            {
                Some("make a development wallet with `cocoon wallet create`".into())
            }
            Self::NoCredential { .. } => Some(
                "sign in with `cocoon login`, or give a key with --api-key or OPENAI_API_KEY"
                    .into(),
            ),
            Self::Refused(refusal) => refusal_hint(refusal),
            Self::Unreachable { .. } => {
                Some("check that the gateway runs, and --base-url or OPENAI_BASE_URL".into())
            }
            Self::BrokenOff { .. } => {
                Some("ask again; `cocoon usage` shows what was charged for the part you got".into())
            }
            Self::Answer(_) => {
                Some("check that --base-url names a Cocoon gateway of this version".into())
            }
            Self::Receipt(_) | Self::Audit { .. } => Some(
                "do not rely on it; keep what you have and show it to the gateway's operator"
                    .into(),
            ),
            Self::Evidence { .. } => {
                Some("do not rely on what made it; --json lists every check".into())
            }
            Self::Argument { .. }
            | Self::File { .. }
            | Self::Content { .. }
            | Self::Policy { .. }
            | Self::Output(_) => None,
        }
    }

    /// Which check refused a receipt or evidence, for scripts.
    pub(crate) fn check_code(&self) -> Option<&'static str> {
        match self {
            Self::Receipt(reason) => Some(match reason {
                FileError::Field(_) => "field",
                FileError::Receipt(_) => "worker_receipt",
                FileError::Path => "path",
                FileError::GatewaySignature => "gateway_signature",
                FileError::GatewayKey => "gateway_key",
                FileError::Assurance => "assurance",
                FileError::Opening => "opening",
            }),
            Self::Evidence { code, .. } | Self::Audit { code, .. } | Self::Policy { code, .. } => {
                Some(code)
            }
            _ => None,
        }
    }

    pub(crate) fn argument(what: &'static str, error: &ParseError) -> Self {
        Self::Argument { what, reason: error.to_string() }
    }
}

fn is_wallet(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("wallet"))
}

fn refusal_hint(refusal: &Refusal) -> Option<String> {
    let hint = match refusal.status {
        401 => "sign in again with `cocoon login`, or check the API key",
        402 => {
            "add funds to the wallet, or raise the key's cap; `cocoon balance` shows what is left"
        }
        403 => "this needs a session: sign in with `cocoon login`",
        404 if refusal.code.as_deref() == Some("model_not_found") => {
            "`cocoon models` lists what is served"
        }
        404 if refusal.code.as_deref() == Some("receipt_pending") => "try again in a moment",
        429 | 503 => {
            return Some(match refusal.retry_after_s {
                Some(seconds) => format!("try again in {seconds} s"),
                None => "try again later".into(),
            });
        }
        _ => return None,
    };
    Some(hint.into())
}
