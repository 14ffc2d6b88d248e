//! The gateway: authenticates, prices, routes and meters requests that attested workers serve.
//!
//! [`edge`] turns connections into requests and errors into answers, [`api`] lists the routes,
//! [`auth`] says who asks, [`dispatch`] carries a request to a worker and settles what it cost,
//! [`idempotency`] answers repeats, [`rates`] says how fast a wallet may go, [`uplink`] admits
//! workers, [`policy`] says which, [`transparency`] shows it to everybody, [`jobs`] does what no
//! request waits for. [`compose`] is the only module that names all of them together.

pub mod api;
pub mod auth;
pub mod cli;
pub mod compose;
pub mod config;
pub mod dispatch;
pub mod ear;
pub mod edge;
pub mod idempotency;
pub mod jobs;
pub mod policy;
pub mod rates;
pub mod recount;
pub mod transparency;
pub mod uplink;
