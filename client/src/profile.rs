//! The stored session.

use std::fmt;
use std::io;
use std::path::Path;

use cocoon_primitives::WalletAddress;
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::private_file;

/// What `cocoon login` leaves for later commands.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) base_url: String,
    pub(crate) wallet: WalletAddress,
    pub(crate) token: String,
    /// Unix seconds.
    pub(crate) expires_at: u64,
}

impl Profile {
    /// `None` where nobody has signed in yet.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match private_file::read(path) {
            Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        serde_json::from_str(&text).map(Some).map_err(|_| CliError::Content {
            path: path.into(),
            reason: "it is not a session of `cocoon login`; remove it and sign in again".into(),
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(self).expect("our own type is JSON");
        private_file::replace(path, &text)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("wallet", &self.wallet).finish_non_exhaustive()
    }
}
