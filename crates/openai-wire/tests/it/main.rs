//! The crate through its public surface: tables of bodies, and properties of every decoder.

mod answer;
mod peek;
mod request;
mod sse;
