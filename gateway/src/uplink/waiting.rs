//! Connections that have not proved themselves yet, counted by where they come from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::network;

/// Of one address at once, IPv6 by its /64 network: a worker needs one.
pub(super) const PER_ADDRESS_MAX: usize = 4;
/// Of all addresses at once. Each costs a socket and what TLS holds until it has said hello.
pub(super) const WAITING_MAX: usize = 1024;

/// How many wait, and from where. No address is kept that none waits from.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<IpAddr, usize>,
    whole: usize,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<Waiting>,
    address: IpAddr,
}

impl Waiting {
    /// A place for one more connection of this peer. `None`: it has its share, or all do.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let address = network(peer);
        let mut counts = self.counts();
        if counts.whole >= WAITING_MAX {
            return None;
        }
        let of_address = counts.by_address.entry(address).or_default();
        if *of_address >= PER_ADDRESS_MAX {
            return None;
        }
        *of_address += 1;
        counts.whole += 1;
        Some(Place { waiting: Arc::clone(self), address })
    }

    /// A panic elsewhere leaves it usable: each change is one call.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts();
        counts.whole = counts.whole.saturating_sub(1);
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_has_its_share_and_others_have_theirs() {
        let waiting = Arc::new(Waiting::default());
        let mut places: Vec<_> =
            (0..PER_ADDRESS_MAX).map(|_| waiting.enter(peer("192.0.2.1")).unwrap()).collect();
        assert!(waiting.enter(peer("192.0.2.1")).is_none());
        assert!(waiting.enter(peer("::ffff:192.0.2.1")).is_none(), "the same address");
        let other = waiting.enter(peer("192.0.2.2"));
        assert!(other.is_some());
        places.pop();
        places.push(waiting.enter(peer("192.0.2.1")).expect("one has left"));
        drop((places, other));
        let counts = waiting.counts();
        assert_eq!((counts.whole, counts.by_address.len()), (0, 0));
    }

    #[test]
    fn a_network_of_version_six_is_one_address() {
        let waiting = Arc::new(Waiting::default());
        let places: Vec<_> = (0..PER_ADDRESS_MAX)
            .map(|host| waiting.enter(peer(&format!("2001:db8::{host:x}"))).unwrap())
            .collect();
        assert!(waiting.enter(peer("2001:db8::ffff")).is_none());
        assert!(waiting.enter(peer("2001:db8:0:1::1")).is_some());
        drop(places);
    }

    #[test]
    fn all_together_are_bounded() {
        let waiting = Arc::new(Waiting::default());
        let mut places = Vec::new();
        for host in 0..u32::try_from(WAITING_MAX).unwrap() {
            places.push(waiting.enter(IpAddr::V4(host.into())).unwrap());
        }
        assert!(waiting.enter(peer("192.0.2.1")).is_none());
    }
}
