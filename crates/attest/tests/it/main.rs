//! The verifiers on vendors' real evidence, which is not part of this repository, and on evidence
//! made up here.

mod evidence;
mod mutations;
#[cfg(feature = "soft-tee")]
mod revocations;
mod tdx;
mod tdx_bytes;
