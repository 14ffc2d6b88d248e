//! The gateway through its public surface: real sockets, the real composition, a real worker
//! with the scripted engine in the same process. Every JSON answer is checked against
//! `openapi.yaml`.

mod account;
mod chat;
mod command_line;
mod contract;
mod edge;
mod endpoints;
mod headers;
mod idempotency;
mod keys;
mod liar;
mod limits;
mod rates;
mod rig;
mod sign_in;
mod trace;
