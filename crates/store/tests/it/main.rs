//! The store through its public surface, on real files.

mod attestation;
mod contention;
mod crash;
mod files;
mod fixture;
mod histories;
mod idempotency;
mod keys;
mod receipts;
mod settlements;
mod usage;
mod wallets;
