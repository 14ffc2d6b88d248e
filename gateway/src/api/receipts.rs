//! What workers signed.

pub(super) mod get;
