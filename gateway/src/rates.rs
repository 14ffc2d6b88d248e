//! How fast one wallet may go: requests and tokens per minute.
//!
//! Each wallet has two token buckets. A request takes one of the one when it comes; of the other
//! it takes its worst case when it is reserved, and gives back at its settlement what it did not
//! use. Both are in memory and full after a restart: what they protect is this process and its
//! workers, money is protected by reservations.
//!
//! Bound: [`WALLETS_MAX`] wallets whose buckets are not full. A bucket fills up within a minute,
//! so that is how many wallets may be active within one; more are told to come back.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cocoon_primitives::{Clock, Timestamp, WalletAddress};
use http::{HeaderMap, HeaderValue};

mod bucket;

use bucket::{Bucket, Level, Short};

/// Wallets that are remembered.
const WALLETS_MAX: usize = 65_536;
/// The wait of a wallet for which there is no room.
const NO_ROOM_WAIT: Duration = Duration::from_secs(1);
/// How often room is looked for.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// What one wallet may have of each in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    pub requests_per_minute: u64,
    /// Prompt and completion tokens together, the prompt's once for each choice: what a worker has
    /// to work through, not what is charged.
    pub tokens_per_minute: u64,
}

/// What a wallet has used up for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateLimited {
    #[error("the wallet's requests of this minute are used up")]
    Requests { limit: u64, wait: Duration },
    #[error("the wallet's tokens of this minute are used up")]
    Tokens { limit: u64, wanted: u64, wait: Duration },
    /// No wait helps.
    #[error("one request may take more tokens than there are in a minute")]
    TooManyTokens { limit: u64, wanted: u64 },
}

/// The rates of all wallets.
pub struct Rates {
    limits: RateLimits,
    clock: Arc<dyn Clock>,
    wallets: Mutex<Wallets>,
}

#[derive(Debug, Default)]
struct Wallets {
    buckets: HashMap<WalletAddress, Pair>,
    swept: Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    requests: Bucket,
    tokens: Bucket,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Rates {
    pub fn new(limits: RateLimits, clock: Arc<dyn Clock>) -> Self {
        Self { limits, clock, wallets: Mutex::default() }
    }

    /// Counts one request.
    pub fn request(&self, wallet: WalletAddress) -> Result<(), RateLimited> {
        let limit = self.limits.requests_per_minute;
        self.with(wallet, |pair, now| pair.requests.take(limit, 1, now))
            .unwrap_or(Err(Short::For(NO_ROOM_WAIT)))
            .map_err(|short| {
                let wait = match short {
                    Short::For(wait) => wait,
                    Short::Forever => Duration::MAX,
                };
                RateLimited::Requests { limit, wait }
            })
    }

    /// What one wallet may have in a minute, and one request at most.
    pub(crate) fn tokens_max(&self) -> u64 {
        self.limits.tokens_per_minute
    }

    /// Sets a request's worst case aside, until the hold is settled or dropped.
    pub fn tokens(
        self: &Arc<Self>,
        wallet: WalletAddress,
        worst: u64,
    ) -> Result<TokenHold, RateLimited> {
        let limit = self.limits.tokens_per_minute;
        let taken = self
            .with(wallet, |pair, now| pair.tokens.take(limit, worst, now))
            .unwrap_or(Err(Short::For(NO_ROOM_WAIT)));
        match taken {
            Ok(()) => Ok(TokenHold { rates: Arc::clone(self), wallet, unused: worst }),
            Err(Short::For(wait)) => Err(RateLimited::Tokens { limit, wanted: worst, wait }),
            Err(Short::Forever) => Err(RateLimited::TooManyTokens { limit, wanted: worst }),
        }
    }

    /// Writes what the wallet has left, in the headers that OpenAI's clients know.
    pub fn write_head(&self, wallet: WalletAddress, head: &mut HeaderMap) {
        let now = self.clock.now();
        let mut pair = self.lock().buckets.get(&wallet).copied().unwrap_or_default();
        let requests = pair.requests.level(self.limits.requests_per_minute, now);
        let tokens = pair.tokens.level(self.limits.tokens_per_minute, now);
        write_level(head, requests, REQUESTS);
        write_level(head, tokens, TOKENS);
    }

    /// `None` where there is no room for another wallet.
    fn with<T>(
        &self,
        wallet: WalletAddress,
        act: impl FnOnce(&mut Pair, Timestamp) -> T,
    ) -> Option<T> {
        let now = self.clock.now();
        let mut wallets = self.lock();
        if !wallets.buckets.contains_key(&wallet) && !wallets.make_room(self.limits, now) {
            metrics::counter!("cocoon_rate_wallets_shed_total").increment(1);
            return None;
        }
        Some(act(wallets.buckets.entry(wallet).or_default(), now))
    }

    fn lock(&self) -> MutexGuard<'_, Wallets> {
        self.wallets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wallets {
    /// Forgets wallets whose buckets are full, which is the same as never having seen them.
    fn make_room(&mut self, limits: RateLimits, now: Timestamp) -> bool {
        if self.buckets.len() < WALLETS_MAX {
            return true;
        }
        if now.since(self.swept) >= SWEEP_PAUSE {
            self.swept = now;
            self.buckets.retain(|_, pair| {
                !pair.requests.is_full(limits.requests_per_minute, now)
                    || !pair.tokens.is_full(limits.tokens_per_minute, now)
            });
        }
        self.buckets.len() < WALLETS_MAX
    }
}

/// The tokens that one request has set aside. What it did not use goes back when this is dropped.
#[derive(Debug)]
pub struct TokenHold {
    rates: Arc<Rates>,
    wallet: WalletAddress,
    unused: u64,
}

impl TokenHold {
    /// So many of them were used.
    pub fn settle(&mut self, used: u64) {
        self.unused = self.unused.saturating_sub(used);
    }
}

impl Drop for TokenHold {
    fn drop(&mut self) {
        let now = self.rates.clock.now();
        let limit = self.rates.limits.tokens_per_minute;
        // A wallet that was forgotten meanwhile had a full bucket.
        if let Some(pair) = self.rates.lock().buckets.get_mut(&self.wallet) {
            pair.tokens.give_back(limit, self.unused, now);
        }
    }
}

/// Limit, remaining, reset.
type Names = [&'static str; 3];
const REQUESTS: Names =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: Names =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

fn write_level(head: &mut HeaderMap, level: Level, [limit, remaining, reset]: Names) {
    head.insert(limit, HeaderValue::from(level.limit));
    head.insert(remaining, HeaderValue::from(level.remaining));
    let text = HeaderValue::try_from(duration(level.reset));
    head.insert(reset, text.expect("a duration is visible ASCII"));
}

/// A duration as Go prints it: `20ms`, `1.5s`, `6m0s`, `1h0m0s`.
fn duration(span: Duration) -> String {
    let ms = span.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, fraction) = (ms / 1000 % 60, ms % 1000);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:03}") };
    let seconds = format!("{seconds}{}s", fraction.trim_end_matches('0'));
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use cocoon_primitives::MockClock;

    use super::*;

    fn wallet(number: u32) -> WalletAddress {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        WalletAddress::new(0, hash)
    }

    fn rates(requests: u64, tokens: u64) -> (Arc<Rates>, MockClock) {
        let clock = MockClock::at(Timestamp::from_seconds(1_000_000));
        let limits = RateLimits { requests_per_minute: requests, tokens_per_minute: tokens };
        (Arc::new(Rates::new(limits, Arc::new(clock.clone()))), clock)
    }

    fn head(rates: &Rates, wallet: WalletAddress) -> Vec<String> {
        let mut head = HeaderMap::new();
        rates.write_head(wallet, &mut head);
        let text = |name: &&str| head[*name].to_str().unwrap().to_owned();
        REQUESTS.iter().chain(&TOKENS).map(text).collect()
    }

    #[test]
    fn a_request_takes_its_worst_case_and_keeps_what_it_used() {
        let (rates, clock) = rates(2, 600);
        let one = wallet(1);
        assert_eq!(head(&rates, one), ["2", "2", "0s", "600", "600", "0s"]);
        rates.request(one).unwrap();
        let mut hold = rates.tokens(one, 500).unwrap();
        assert_eq!(head(&rates, one), ["2", "1", "30s", "600", "100", "50s"]);
        let wait = Duration::from_secs(10);
        let refused = RateLimited::Tokens { limit: 600, wanted: 200, wait };
        assert_eq!(rates.tokens(one, 200).unwrap_err(), refused);
        let refused = RateLimited::TooManyTokens { limit: 600, wanted: 601 };
        assert_eq!(rates.tokens(one, 601).unwrap_err(), refused);
        hold.settle(20);
        drop(hold);
        assert_eq!(head(&rates, one)[4..], ["580", "2s"]);
        drop(rates.tokens(one, 580).unwrap());
        assert_eq!(head(&rates, one)[4..], ["580", "2s"], "what nobody used is all back");

        rates.request(one).unwrap();
        let wait = Duration::from_secs(30);
        assert_eq!(rates.request(one), Err(RateLimited::Requests { limit: 2, wait }));
        assert_eq!(rates.request(wallet(2)), Ok(()), "each wallet has its own");
        clock.advance(wait);
        assert_eq!(rates.request(one), Ok(()));
    }

    #[test]
    fn a_hold_that_used_more_than_it_held_gives_nothing_back() {
        let (rates, _) = rates(10, 100);
        let mut hold = rates.tokens(wallet(1), 10).unwrap();
        hold.settle(50);
        drop(hold);
        assert_eq!(head(&rates, wallet(1))[4], "90");
    }

    #[test]
    fn wallets_are_forgotten_when_their_minute_is_over_and_not_before() {
        let (rates, clock) = rates(1, 100);
        for number in 0..u32::try_from(WALLETS_MAX).unwrap() {
            rates.request(wallet(number)).unwrap();
        }
        let late = wallet(u32::MAX);
        let refused = RateLimited::Requests { limit: 1, wait: NO_ROOM_WAIT };
        assert_eq!(rates.request(late), Err(refused));
        assert!(rates.request(wallet(0)).is_err(), "nobody gets a second bucket");
        clock.advance(Duration::from_secs(60));
        assert_eq!(rates.request(late), Ok(()));
        assert_eq!(rates.lock().buckets.len(), 1);
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (20, "20ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (1005, "1.005s"),
            (59_990, "59.99s"),
            (60_000, "1m0s"),
            (90_120, "1m30.12s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
