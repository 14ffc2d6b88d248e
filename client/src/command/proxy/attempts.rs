//! Which try of an `Idempotency-Key` a request is.
//!
//! All repeats of a request have one id, so that only one of them is ever charged. Where a try
//! ended in a failure that cost nothing, its id is used up all the same: the next repeat has the
//! next one. Invariant: nobody gets a new id while a try with the old one is open, or after one
//! that may have been charged.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cocoon_primitives::RequestId;
use sha2::{Digest as _, Sha256};

/// Keys that are remembered; of the oldest ones the first id counts again.
const KEYS_MAX: usize = 16 * 1024;

/// Every key that was seen, by its hash.
#[derive(Default)]
pub(super) struct Attempts(Mutex<Known>);

#[derive(Default)]
struct Known {
    keys: HashMap<[u8; 32], Tries>,
    order: VecDeque<[u8; 32]>,
}

#[derive(Default)]
struct Tries {
    /// The one that repeats belong to now.
    number: u32,
    /// Requests under way with this number.
    open: u32,
    /// Whether one of them may have been charged.
    is_spent: bool,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was answered, or nobody knows.
    Spent,
    /// It used its id up and cost nothing.
    Failed,
    /// It was refused before anybody took note of its id.
    Unused,
}

/// One request with such a key.
pub(super) struct Attempt {
    attempts: Arc<Attempts>,
    hash: [u8; 32],
    number: u32,
    outcome: Outcome,
}

impl Attempts {
    /// A request whose key has this hash. It counts as spent until something else is said.
    pub(super) fn begin(self: &Arc<Self>, hash: [u8; 32]) -> Attempt {
        let mut known = self.known();
        if !known.keys.contains_key(&hash) {
            known.make_room();
            known.order.push_back(hash);
        }
        let tries = known.keys.entry(hash).or_default();
        tries.open = tries.open.saturating_add(1);
        let number = tries.number;
        Attempt { attempts: Arc::clone(self), hash, number, outcome: Outcome::Spent }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn make_room(&mut self) {
        while self.keys.len() >= KEYS_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.keys.remove(&oldest);
        }
    }
}

impl Attempt {
    /// The id that this try is charged under.
    pub(super) fn request_id(&self) -> RequestId {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(self.number.to_be_bytes());
        let bytes: [u8; 32] = hash.finalize().into();
        let (id, _) = bytes.split_first_chunk().expect("16 of 32 bytes");
        RequestId::from_bytes(*id)
    }

    /// It failed in a way that costs nothing.
    pub(super) fn failed(mut self) {
        self.outcome = Outcome::Failed;
    }

    /// It was refused before its id was used.
    pub(super) fn unused(mut self) {
        self.outcome = Outcome::Unused;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut known = self.attempts.known();
        let tries = known.keys.get_mut(&self.hash);
        let Some(tries) = tries.filter(|tries| tries.number == self.number) else { return };
        tries.open = tries.open.saturating_sub(1);
        tries.is_spent |= self.outcome == Outcome::Spent;
        if self.outcome == Outcome::Failed && tries.open == 0 && !tries.is_spent {
            tries.number = tries.number.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Arc<Attempts> {
        Arc::new(Attempts::default())
    }

    #[test]
    fn repeats_have_one_id_and_what_failed_for_nothing_gets_the_next() {
        let attempts = attempts();
        let first = attempts.begin([1; 32]);
        let id = first.request_id();
        first.unused();
        let again = attempts.begin([1; 32]);
        assert_eq!(again.request_id(), id);
        again.failed();
        let next = attempts.begin([1; 32]);
        let next_id = next.request_id();
        assert_ne!(next_id, id);
        drop(next);
        // Answered: from here on it is this one.
        attempts.begin([1; 32]).failed();
        assert_eq!(attempts.begin([1; 32]).request_id(), next_id);
        assert_ne!(attempts.begin([2; 32]).request_id(), id);
    }

    #[test]
    fn a_failure_beside_an_open_try_gives_no_new_id() {
        let attempts = attempts();
        let open = attempts.begin([1; 32]);
        let id = open.request_id();
        attempts.begin([1; 32]).failed();
        assert_eq!(attempts.begin([1; 32]).request_id(), id);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let attempts = attempts();
        for number in 0..KEYS_MAX + 10 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            attempts.begin(hash).failed();
        }
        assert_eq!(attempts.known().keys.len(), KEYS_MAX);
        assert_eq!(attempts.known().order.len(), KEYS_MAX);
    }
}
