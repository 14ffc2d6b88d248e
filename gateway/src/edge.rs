//! Between sockets and routes: what happens to every request, in one fixed order.
//!
//! Outermost first: `observe` names the request and opens its span; `cors` answers
//! preflights; `recover` turns a panic into an answer; `unread` drains what a refused
//! request still sends, so that its sender reads the refusal; [`admission`] bounds what runs at
//! once, [`share`] what one principal runs at once. Then the route's own extractors: who asks
//! ([`principal`]), then what ([`body`]).
//! [`problem`] is the only place that picks a status for an error; [`serve`] holds the sockets.

pub mod admission;
pub mod body;
mod cors;
mod held;
mod observe;
pub mod path;
pub mod principal;
pub mod problem;
mod recover;
pub mod serve;
pub mod share;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use cocoon_primitives::Clock;

use admission::Admission;

/// What the edge needs to know.
#[derive(Clone)]
pub struct EdgeParts {
    pub admission: Arc<Admission>,
    /// How long a refused request may go on sending.
    pub drain_timeout: Duration,
    /// Request ids begin with the time.
    pub clock: Arc<dyn Clock>,
}

/// Puts the edge around `routes`; the last layer added is the outermost.
pub fn wrap(routes: Router, parts: &EdgeParts) -> Router {
    routes
        .layer(from_fn_with_state(Arc::clone(&parts.admission), admission::admit))
        .layer(from_fn_with_state(unread::Drains::new(parts.drain_timeout), unread::drain))
        .layer(from_fn(recover::recover))
        .layer(from_fn(cors::cors))
        .layer(from_fn_with_state(Arc::clone(&parts.clock), observe::observe))
}

#[cfg(test)]
mod tests;
