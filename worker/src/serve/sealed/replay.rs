//! Which sealed requests were seen: each runs once.
//!
//! Pure. An entry lives until the request can no longer be taken by any clock. A full table
//! refuses: forgetting would let an old request run again.

use std::collections::{BTreeSet, HashSet};

use cocoon_primitives::{RequestId, Timestamp};

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum ReplayFault {
    Seen,
    Full,
}

/// The requests of the last minutes.
#[derive(Debug)]
pub(in crate::serve) struct Replays {
    seen: HashSet<RequestId>,
    /// The same, by when they are forgotten.
    ends: BTreeSet<(Timestamp, RequestId)>,
    entries_max: usize,
}

impl Replays {
    pub(in crate::serve) fn new(entries_max: usize) -> Self {
        Self { seen: HashSet::new(), ends: BTreeSet::new(), entries_max }
    }

    pub(super) fn claim(
        &mut self,
        id: RequestId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), ReplayFault> {
        while let Some((end, old)) = self.ends.first().copied()
            && end < now
        {
            self.ends.pop_first();
            self.seen.remove(&old);
        }
        if self.seen.contains(&id) {
            return Err(ReplayFault::Seen);
        }
        if self.seen.len() >= self.entries_max {
            return Err(ReplayFault::Full);
        }
        self.seen.insert(id);
        self.ends.insert((until, id));
        Ok(())
    }

    pub(super) fn release(&mut self, id: RequestId, until: Timestamp) {
        if self.ends.remove(&(until, id)) {
            self.seen.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(byte: u8) -> RequestId {
        RequestId::from_bytes([byte; 16])
    }

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    #[test]
    fn a_request_is_taken_once_until_its_end() {
        let mut table = Replays::new(10);
        assert_eq!(table.claim(id(1), at(10), at(0)), Ok(()));
        // Another end does not make it another request.
        assert_eq!(table.claim(id(1), at(99), at(10)), Err(ReplayFault::Seen));
        assert_eq!(table.claim(id(1), at(20), at(11)), Ok(()));
        assert_eq!(table.claim(id(1), at(20), at(12)), Err(ReplayFault::Seen));
        assert_eq!((table.seen.len(), table.ends.len()), (1, 1));
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nothing() {
        let mut table = Replays::new(2);
        assert_eq!(table.claim(id(1), at(10), at(0)), Ok(()));
        assert_eq!(table.claim(id(2), at(20), at(0)), Ok(()));
        assert_eq!(table.claim(id(3), at(20), at(10)), Err(ReplayFault::Full));
        assert_eq!(table.claim(id(1), at(20), at(10)), Err(ReplayFault::Seen));
        assert_eq!(table.claim(id(3), at(20), at(11)), Ok(()));
    }

    #[test]
    fn what_was_not_begun_may_come_again() {
        let mut table = Replays::new(1);
        assert_eq!(table.claim(id(1), at(10), at(0)), Ok(()));
        table.release(id(1), at(10));
        assert_eq!(table.claim(id(2), at(10), at(0)), Ok(()));
        // Not the end that was claimed: nothing is released.
        table.release(id(2), at(11));
        assert_eq!(table.claim(id(2), at(10), at(0)), Err(ReplayFault::Seen));
    }
}
