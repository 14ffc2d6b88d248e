//! The three engines through their one trait.
//!
//! Tests whose names begin with `engine_real` run the real child, `cocoon-engine`, with the demo
//! model; without that program they fail and say how to build it.

mod engine_real;
mod engine_real_api;
mod engine_real_embed;
mod engine_real_hostile;
mod engine_real_hub;
mod scripted;
mod support;
mod upstream;
