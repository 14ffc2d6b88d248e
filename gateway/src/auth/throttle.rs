//! How often one address may knock, in bounded memory.
//!
//! A token bucket per address, IPv6 by its /64 network, since a host owns all of that.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cocoon_primitives::Timestamp;

/// Addresses that are remembered at once.
const ADDRESSES_MAX: usize = 10_000;
const MINUTE_MS: u64 = 60_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// What is taken and not yet refilled, in thousandths of a request, so that refilling by the
    /// millisecond loses nothing. More than the allowance is a debt.
    used_milli: u64,
    filled_at: Timestamp,
}

/// Admits so many requests a minute from each address, in bursts of up to a minute's worth.
#[derive(Debug)]
pub struct Throttle {
    per_minute: u64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Throttle {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: u64::from(per_minute.max(1)), buckets: Mutex::default() }
    }

    /// Takes one request's worth, or says how long to wait for it.
    pub fn admit(&self, peer: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network(peer);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&peer) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(peer).or_insert(Bucket { used_milli: 0, filled_at: now });
        bucket.used_milli = self.used(bucket, now);
        bucket.filled_at = now;
        let asked = bucket.used_milli.saturating_add(1000);
        if asked <= self.capacity() {
            bucket.used_milli = asked;
            return Ok(());
        }
        let missing = (asked - self.capacity()).saturating_mul(MINUTE_MS);
        Err(Duration::from_millis(missing.div_ceil(self.capacity())))
    }

    /// Takes as much again as `requests` for one that was admitted and turned out to be large.
    /// What is not there is owed: the next one waits for it.
    pub fn charge(&self, peer: IpAddr, requests: u64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&network(peer)) {
            bucket.used_milli = bucket.used_milli.saturating_add(requests.saturating_mul(1000));
        }
    }

    const fn capacity(&self) -> u64 {
        self.per_minute * 1000
    }

    fn used(&self, bucket: &Bucket, now: Timestamp) -> u64 {
        let passed_ms = now.as_millis().saturating_sub(bucket.filled_at.as_millis());
        let gained = passed_ms.saturating_mul(self.capacity()) / MINUTE_MS;
        bucket.used_milli.saturating_sub(gained)
    }

    /// Forgets addresses that have their full allowance anyway; where none has, one of the
    /// others: an attacker with many addresses then throttles nobody else.
    fn make_room(&self, buckets: &mut HashMap<IpAddr, Bucket>, now: Timestamp) {
        buckets.retain(|_, bucket| self.used(bucket, now) > 0);
        if buckets.len() >= ADDRESSES_MAX
            && let Some(any) = buckets.keys().next().copied()
        {
            buckets.remove(&any);
        }
    }
}

/// What counts as one peer: an IPv4 address, or a /64 network of IPv6.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_burst_is_followed_by_a_steady_pace() {
        let throttle = Throttle::new(2);
        let peer = "192.0.2.1".parse().unwrap();
        assert_eq!(throttle.admit(peer, NOW), Ok(()));
        assert_eq!(throttle.admit(peer, NOW), Ok(()));
        let wait = Duration::from_secs(30);
        assert_eq!(throttle.admit(peer, NOW), Err(wait));
        assert_eq!(throttle.admit("192.0.2.2".parse().unwrap(), NOW), Ok(()));
        assert_eq!(throttle.admit(peer, NOW.saturating_add(wait)), Ok(()));
        assert!(throttle.admit(peer, NOW.saturating_add(wait)).is_err());
    }

    #[test]
    fn what_was_large_is_owed() {
        let throttle = Throttle::new(60);
        let peer = "192.0.2.1".parse().unwrap();
        assert_eq!(throttle.admit(peer, NOW), Ok(()));
        throttle.charge(peer, 119);
        assert_eq!(throttle.admit(peer, NOW), Err(Duration::from_secs(61)));
        let later = NOW.saturating_add(Duration::from_secs(61));
        assert_eq!(throttle.admit(peer, later), Ok(()));
        assert!(throttle.admit(peer, later).is_err());
        // Somebody else owes nothing.
        assert_eq!(throttle.admit("192.0.2.2".parse().unwrap(), NOW), Ok(()));
    }

    #[test]
    fn one_network_of_version_six_is_one_peer() {
        let throttle = Throttle::new(1);
        assert!(throttle.admit("2001:db8::1".parse().unwrap(), NOW).is_ok());
        assert!(throttle.admit("2001:db8::2".parse().unwrap(), NOW).is_err());
        assert!(throttle.admit("2001:db8:0:1::1".parse().unwrap(), NOW).is_ok());
    }

    #[test]
    fn memory_stays_bounded() {
        let throttle = Throttle::new(1);
        for index in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 100 {
            assert!(throttle.admit(IpAddr::V4(index.into()), NOW).is_ok());
        }
        assert!(throttle.buckets.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
