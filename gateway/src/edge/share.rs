//! How many requests one wallet runs at once.
//!
//! A wallet costs nothing to make and a key even less, so the share is the wallet's, whatever
//! key or session asks. It is held like the permit of [`admission`](super::admission): to the
//! last byte of the answer, or until a refusal is decided; a request that may outlive its
//! connection takes the share with it. Bounded by the requests in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRef, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::WalletAddress;

use super::held::HeldBody;
use super::problem::Problem;
use crate::auth::{Authenticator, Principal};
use crate::rates::Rates;

/// Requests in flight, by wallet.
#[derive(Debug)]
pub struct Shares {
    requests_max: usize,
    running: Mutex<HashMap<WalletAddress, usize>>,
}

impl Shares {
    pub fn new(requests_max: usize) -> Self {
        Self { requests_max, running: Mutex::default() }
    }

    /// One more request of this wallet, unless it has its share.
    pub(crate) fn take(self: &Arc<Self>, wallet: WalletAddress) -> Option<Share> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(wallet).or_insert(0);
        if *count >= self.requests_max {
            return None;
        }
        *count += 1;
        Some(Share { _place: Arc::new(Place { shares: Arc::clone(self), wallet }) })
    }
}

/// One running request of a wallet, until its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Share {
    _place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    shares: Arc<Shares>,
    wallet: WalletAddress,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.shares.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.wallet) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.wallet);
            }
        }
    }
}

/// Who asks is found out here, once; a request without a principal goes on to a route that needs
/// none, or that refuses it.
pub async fn share<S>(State(state): State<S>, mut request: Request, next: Next) -> Response
where
    Arc<Authenticator>: FromRef<S>,
    Arc<Rates>: FromRef<S>,
    Arc<Shares>: FromRef<S>,
{
    let authenticator = Arc::<Authenticator>::from_ref(&state);
    let shares = Arc::<Shares>::from_ref(&state);
    let Ok(principal) = authenticator.authenticate(request.headers()) else {
        return next.run(request).await;
    };
    let Some(share) = shares.take(principal.wallet) else {
        metrics::counter!("cocoon_requests_over_share_total").increment(1);
        let mut refusal = Problem::ShareTaken.into_response();
        if Endpoint::from_path(request.uri().path()).is_some() {
            Arc::<Rates>::from_ref(&state).write_head(principal.wallet, refusal.headers_mut());
        }
        return refusal;
    };
    request.extensions_mut().insert::<Principal>(principal);
    request.extensions_mut().insert::<Share>(share.clone());
    HeldBody::hold(next.run(request).await, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_has_its_share_and_leaves_nothing_behind() {
        let shares = Arc::new(Shares::new(2));
        let (one, two) = (WalletAddress::new(0, [1; 32]), WalletAddress::new(0, [2; 32]));
        let held = [shares.take(one), shares.take(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(one).is_none());
        assert!(shares.take(two).is_some());
        drop(held);
        assert!(shares.running.lock().unwrap().is_empty());
        assert!(shares.take(one).is_some());
    }

    /// Whoever is dropped first, the request never loses its place in between.
    #[test]
    fn clones_of_a_share_are_one_request() {
        let shares = Arc::new(Shares::new(1));
        let wallet = WalletAddress::new(0, [1; 32]);
        let connection = shares.take(wallet).expect("nothing runs");
        let task = connection.clone();
        drop(connection);
        assert!(shares.take(wallet).is_none());
        drop(task);
        assert!(shares.take(wallet).is_some());
    }
}
