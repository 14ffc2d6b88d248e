//! The party behind a request.

use cocoon_primitives::{KeyId, WalletAddress};

/// Whose balance a request touches, and through which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub wallet: WalletAddress,
    /// `None` for a wallet's session.
    pub key: Option<KeyId>,
}
