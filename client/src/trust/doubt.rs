//! Something that has to be proven and is not.

use crate::error::CliError;

/// What does not hold, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Doubt {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

impl Doubt {
    pub(crate) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Why something could not be verified: it was wrong, or nobody answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error(transparent)]
    Doubt(#[from] Doubt),
    #[error(transparent)]
    Call(#[from] CliError),
}

impl From<Doubt> for CliError {
    fn from(doubt: Doubt) -> Self {
        Self::Evidence { code: doubt.code, reason: doubt.reason }
    }
}

impl From<TrustError> for CliError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Doubt(doubt) => doubt.into(),
            TrustError::Call(error) => error,
        }
    }
}
