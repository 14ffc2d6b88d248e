//! Every decoder of foreign bytes, as a function that takes any bytes and must not panic.
//!
//! Shape: [`TARGETS`] is the list; [`mutate`] changes seeds where no fuzzer that watches coverage runs;
//! `libfuzzer/` beside this crate makes a fuzzer of each target.
//! Invariants: a target has no state, reads no clock and draws no random bytes; what it asserts beyond "no
//! panic" is that bytes which are read have the one encoding that is written.

pub mod mutate;
pub mod seeds;
mod targets;

pub use targets::TARGETS;

/// A decoder's name, and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Bytes of one input at most: more only takes longer.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Runs the target of this name on bytes.
///
/// # Panics
/// If there is no such target, or the target finds a bug.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a known target");
    target(bytes);
}
