//! A worker: an engine behind the OpenAI surface, reachable over a connection that it dialled.
//!
//! Shape: [`engine`] generates, [`serve`] speaks OpenAI and signs receipts, [`evidence`] says
//! what this machine is, [`uplink`] dials a gateway, enrols and serves, [`models`] says what a policy
//! has to name. [`compose`] alone names the concrete parts; [`config`] alone reads settings.

pub mod cli;
pub mod compose;
pub mod config;
pub mod engine;
pub mod evidence;
pub mod models;
pub mod serve;
pub mod uplink;
