//! A transfer: one immutable movement between two accounts.

use cocoon_primitives::{Nano, Timestamp};

use crate::{AccountId, TransferId};

/// What a transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferKind {
    /// Moves money at once.
    Posted,
    /// Holds money until another transfer ends it. From `expires_at` on it can only expire.
    Pending { expires_at: Timestamp },
    /// Moves at most what `pending` holds and lets the rest go.
    PostPending { pending: TransferId },
    /// Lets go of all that `pending` holds, before it expires.
    VoidPending { pending: TransferId },
    /// Lets go of all that `pending` holds, once its time has come.
    ExpirePending { pending: TransferId },
}

impl TransferKind {
    /// The pending transfer that this one ends.
    #[must_use]
    pub const fn ends(&self) -> Option<TransferId> {
        match self {
            Self::Posted | Self::Pending { .. } => None,
            Self::PostPending { pending }
            | Self::VoidPending { pending }
            | Self::ExpirePending { pending } => Some(*pending),
        }
    }
}

/// A movement of `amount` from `debit` to `credit`. Zero is an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransferId,
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount: Nano,
    pub kind: TransferKind,
    /// When it was decided. Not compared when a transfer is repeated.
    pub at: Timestamp,
}

impl Transfer {
    #[must_use]
    pub const fn posted(
        id: TransferId,
        debit: AccountId,
        credit: AccountId,
        amount: Nano,
        at: Timestamp,
    ) -> Self {
        Self { id, debit, credit, amount, kind: TransferKind::Posted, at }
    }

    /// The transfer that posts `amount` of this pending one.
    #[must_use]
    pub const fn post(&self, id: TransferId, amount: Nano, at: Timestamp) -> Self {
        Self { id, amount, kind: TransferKind::PostPending { pending: self.id }, at, ..*self }
    }

    /// The transfer that voids this pending one.
    #[must_use]
    pub const fn void(&self, id: TransferId, at: Timestamp) -> Self {
        Self { id, kind: TransferKind::VoidPending { pending: self.id }, at, ..*self }
    }

    /// The transfer that expires this pending one.
    #[must_use]
    pub const fn expire(&self, id: TransferId, at: Timestamp) -> Self {
        Self { id, kind: TransferKind::ExpirePending { pending: self.id }, at, ..*self }
    }
}
