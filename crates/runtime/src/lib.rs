//! What every program of ours needs around its work: time, tasks, signals, telemetry.
//!
//! IO crate. [`Lifecycle`] owns every task of a process and ends them in two steps,
//! [`SystemClock`] is the one place that reads wall time, [`Signals`] turns SIGINT and SIGTERM
//! into a value, [`telemetry`] sets up logs, traces and metrics once, and [`admin`] shows metrics.

pub mod admin;
mod clock;
mod lifecycle;
pub mod propagation;
pub mod semconv;
mod signals;
pub mod telemetry;

pub use clock::SystemClock;
pub use lifecycle::{Drained, Lifecycle};
pub use signals::Signals;
pub use tokio_util::sync::CancellationToken;
