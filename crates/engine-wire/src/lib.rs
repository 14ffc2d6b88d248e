//! What the worker and its engine child say to each other over the child's stdin and stdout.
//!
//! Pure. A frame is a `u32` big-endian length and that many bytes of JSON; [`encode`] makes one and
//! [`FrameDecoder`] takes a byte stream apart again. [`ToEngine`] goes down, [`FromEngine`] comes up,
//! and the job's own words ([`Sampling`], [`Constraint`], [`Usage`], …) are shared with the worker's
//! `Engine` trait, so that nothing is translated twice. [`StopCut`] is what every engine of ours
//! uses to keep stop texts from leaving, and [`Attached`] what comes with their tokens.
//!
//! Invariants: no frame is longer than [`FRAME_BYTES_MAX`] in either direction; a client's JSON
//! travels as text inside a string, so its depth can never make a frame undecodable.

mod frame;
mod job;
mod message;
mod stop;

pub use frame::{FRAME_BYTES_MAX, FrameDecoder, WireError, encode};
pub use job::{
    Channel, Constraint, EmbedInput, FinishReason, Reasoning, Sampling, TokenLogprob, ToolChoice,
    TopLogprob, Usage,
};
pub use message::{Failure, FromEngine, Generate, Prompt, Ready, ToEngine};
pub use stop::{Attached, StopCut};

/// Both sides carry this number; a child of another version is not used.
pub const PROTOCOL: u32 = 4;
