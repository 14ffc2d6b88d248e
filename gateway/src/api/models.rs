//! What is served, and what it costs.

pub(super) mod get;
pub(super) mod list;
mod shape;
