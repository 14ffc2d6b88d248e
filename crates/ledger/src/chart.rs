//! The chart of accounts, and identifiers that follow from what they identify.
//!
//! A repeat of the same event makes the same transfer id, so a retry after a crash, on any path,
//! meets the transfer that it would repeat.

use std::fmt;

use cocoon_primitives::{RequestId, WalletAddress};
use sha2::{Digest, Sha256};

use crate::Limit;

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountKind {
    /// What a wallet has given and may spend.
    Wallet,
    /// What a worker's payee has earned.
    Payee,
    /// The gateway's commission.
    Revenue,
    /// Where charges stand between the wallet and those who share them. Empty after each request.
    Clearing,
    /// Where development credit comes from: the sum of all that was ever given.
    DevelopmentCredit,
}

impl AccountKind {
    pub const ALL: [Self; 5] =
        [Self::Wallet, Self::Payee, Self::Revenue, Self::Clearing, Self::DevelopmentCredit];

    /// The kind's number in digests and databases.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Wallet => 1,
            Self::Payee => 2,
            Self::Revenue => 3,
            Self::Clearing => 4,
            Self::DevelopmentCredit => 5,
        }
    }

    #[must_use]
    pub const fn limit(self) -> Limit {
        match self {
            Self::Wallet | Self::Payee | Self::Revenue | Self::Clearing => {
                Limit::DebitsWithinCredits
            }
            Self::DevelopmentCredit => Limit::None,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Payee => "payee",
            Self::Revenue => "revenue",
            Self::Clearing => "clearing",
            Self::DevelopmentCredit => "development credit",
        }
    }
}

/// Declares an identifier of the ledger: 16 bytes of a SHA-256 digest.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

identifier!(
    /// An account's identifier.
    AccountId
);
identifier!(
    /// A transfer's identifier: it makes repeats harmless.
    TransferId
);

impl AccountId {
    /// The account of this kind that belongs to `owner`; the gateway's own ones have none.
    #[must_use]
    pub fn of(kind: AccountKind, owner: Option<&WalletAddress>) -> Self {
        let owner = owner.map(WalletAddress::to_bytes);
        let owner = owner.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        Self(digest(b"cocoon/account/v1", kind.code(), owner))
    }
}

impl TransferId {
    /// Holds the worst case of a request.
    #[must_use]
    pub fn reserve(request: &RequestId) -> Self {
        Self::of_request(request, 1)
    }

    /// Charges a request.
    #[must_use]
    pub fn charge(request: &RequestId) -> Self {
        Self::of_request(request, 2)
    }

    /// Lets a request's reservation go.
    #[must_use]
    pub fn void(request: &RequestId) -> Self {
        Self::of_request(request, 3)
    }

    /// Lets a request's reservation go because its time has come.
    #[must_use]
    pub fn expire(request: &RequestId) -> Self {
        Self::of_request(request, 4)
    }

    /// Gives the worker its share of a charge.
    #[must_use]
    pub fn worker_share(request: &RequestId) -> Self {
        Self::of_request(request, 5)
    }

    /// Gives the gateway the rest of a charge.
    #[must_use]
    pub fn commission(request: &RequestId) -> Self {
        Self::of_request(request, 6)
    }

    /// Gives development credit, named by its caller.
    #[must_use]
    pub fn credit(reference: &[u8; 16]) -> Self {
        Self(digest(b"cocoon/credit/v1", 0, reference))
    }

    /// Half of the request's id, then half of a digest: a request's transfers are neighbours in a
    /// database, and where request ids grow with time so do these.
    fn of_request(request: &RequestId, purpose: u8) -> Self {
        let mut id = digest(b"cocoon/transfer/v1", purpose, request.as_bytes());
        id.copy_within(..8, 8);
        id[..8].copy_from_slice(&request.as_bytes()[..8]);
        Self(id)
    }
}

/// The first 16 bytes of SHA-256(`domain` ‖ `kind` ‖ `subject`). Domains are no prefixes of each
/// other and subjects of one domain and kind have one length, so no two inputs read the same.
fn digest(domain: &[u8], kind: u8, subject: &[u8]) -> [u8; 16] {
    let full: [u8; 32] = Sha256::new()
        .chain_update(domain)
        .chain_update([kind])
        .chain_update(subject)
        .finalize()
        .into();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identifiers_of_different_things_differ() {
        let request = RequestId::from_bytes([7; 16]);
        let owner = WalletAddress::new(0, [7; 32]);
        let transfers = [
            TransferId::reserve(&request),
            TransferId::charge(&request),
            TransferId::void(&request),
            TransferId::expire(&request),
            TransferId::worker_share(&request),
            TransferId::commission(&request),
            TransferId::credit(&[7; 16]),
        ];
        assert_eq!(BTreeSet::from(transfers).len(), transfers.len());
        let accounts = AccountKind::ALL.map(|kind| AccountId::of(kind, Some(&owner)));
        assert_eq!(BTreeSet::from(accounts).len(), accounts.len());
    }

    #[test]
    fn identifiers_are_pinned_because_databases_hold_them() {
        let request = RequestId::from_bytes([0xaa; 16]);
        // Eight bytes of it, then eight of printf 'cocoon/transfer/v1\x01' and the id through
        // sha256sum.
        assert_eq!(TransferId::reserve(&request).to_string(), "aaaaaaaaaaaaaaaa7c5dc747df6f3856");
        // printf 'cocoon/account/v1\x03' through sha256sum.
        assert_eq!(
            AccountId::of(AccountKind::Revenue, None).to_string(),
            "2a4e8fe7eccb4e692daaa4ce5ea9cd76"
        );
    }
}
