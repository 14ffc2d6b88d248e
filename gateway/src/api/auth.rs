//! A wallet signs in.

pub(super) mod payload;
pub(super) mod ton_proof;
