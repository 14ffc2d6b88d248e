//! The crate through its public surface: tables of bodies, and properties of every decoder.

mod answer;
mod completions;
mod embeddings;
mod peek;
mod request;
mod responses;
mod sse;
mod tolerance;
