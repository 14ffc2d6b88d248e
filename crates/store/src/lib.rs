//! The gateway's durable state in one SQLite file: wallets, keys, the ledger, requests, receipts,
//! the log of leases with its evidence, and the answers that idempotency keys repeat.
//!
//! Shape: one writer thread takes queued operations, runs each in a savepoint of one shared
//! transaction, commits, then answers all of them (group commit). Reads run on a few reader
//! threads, each with a connection of its own and one snapshot per read. One more thread syncs.
//!
//! Invariants: money moves only as transfers that crate `ledger` has accepted, in the transaction
//! that records why; a request is charged at most once and at most its reservation; every
//! operation may be repeated. An answer means that the change has reached the operating system
//! (it survives `kill -9`); [`Store::durable_barrier`] takes it to the disk.
//!
//! Cost: a write is one trip to the writer thread and shares its commit; nothing waits for fsync.
//! A call whose future is dropped may still take effect.

mod attestation;
mod audit;
mod column;
mod error;
mod idempotency;
mod key;
mod nonce;
mod posting;
mod reader;
mod receipt;
mod request;
mod reservation;
mod schema;
mod settlement;
mod store;
mod sync;
mod tx;
mod usage;
mod wallet;
mod writer;

pub use attestation::{AppendOutcome, LogKind, LogRow, NewEvidence, NewLogEntry};
pub use audit::LedgerReport;
pub use error::StoreError;
pub use idempotency::{Claim, ClaimOutcome, Conclusion, ConclusionOutcome};
pub use key::{CreateKeyOutcome, KEYS_PER_DAY_MAX, KEYS_PER_WALLET_MAX, KeyRow, NewKey};
pub use receipt::{Countersignature, NewReceipt, ReceiptRow, Standing, Uncountersigned};
pub use request::{RequestRow, RequestState};
pub use reservation::{OpenReservation, Reservation, ReserveOutcome};
pub use settlement::{Holder, Outcome, SettleOutcome, Settlement};
pub use store::Store;
pub use usage::{UsageCursor, UsagePage, UsageRow, UsageTotals};
pub use wallet::Balance;
