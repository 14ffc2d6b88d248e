//! The gateway through its public surface: real sockets, the real composition, a real worker
//! with the scripted engine in the same process. Every JSON answer is checked against
//! `openapi.yaml`.

mod account;
mod attestation;
mod chat;
mod command_line;
mod contract;
mod edge;
mod endpoints;
#[path = "../support/forge.rs"]
mod forge;
mod headers;
mod idempotency;
mod keys;
mod liar;
mod limits;
mod rates;
mod revocation;
mod rig;
mod sealed;
mod sign_in;
mod trace;
