//! Inference.

pub(super) mod create;
