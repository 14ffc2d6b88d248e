//! Double entry with two-phase transfers: the rules by which money moves, and nothing else.
//!
//! After TigerBeetle's accounts and transfers: an account is four running totals, a transfer is
//! immutable, and a pending transfer is ended by exactly one other transfer that posts, voids or
//! expires it. [`decide()`] is a pure function from what is known ([`View`]) to the two accounts'
//! new totals or a typed [`Rejection`]; [`Book`] keeps accounts and transfers in memory; a
//! database gathers the view, decides, and persists in one transaction.
//!
//! Invariants, asserted in every build: debits equal credits over all accounts, pending and posted
//! alike; no account passes its [`Limit`]; a transfer id that has been applied is never applied
//! again, so everything may be retried.

mod account;
mod book;
mod chart;
mod decide;
mod transfer;

pub use account::{Account, Limit};
pub use book::{Book, Totals};
pub use chart::{AccountId, AccountKind, TransferId};
pub use decide::{Applied, Field, Rejection, Resolution, Side, View, decide};
pub use transfer::{Transfer, TransferKind};
