//! Workers whose count was too high, and whose requests showed it.

use std::collections::VecDeque;

use cocoon_primitives::{WalletAddress, WorkerId};

/// So many wallets have to have seen it before a worker is out: no client alone may bring that
/// about.
pub(crate) const WALLETS: usize = 3;
/// Workers that are remembered; the one that was suspected first is forgotten for one more.
const WORKERS_MAX: usize = 4096;

/// What was seen in the life of this process.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// The oldest first; each with at most [`WALLETS`] different wallets.
    seen: VecDeque<(WorkerId, Vec<WalletAddress>)>,
}

impl Suspects {
    /// Whether enough wallets have seen it now.
    pub(super) fn note(&mut self, worker: WorkerId, wallet: WalletAddress) -> bool {
        let place = self.seen.iter().position(|(known, _)| *known == worker);
        let place = place.unwrap_or_else(|| {
            if self.seen.len() >= WORKERS_MAX {
                self.seen.pop_front();
            }
            self.seen.push_back((worker, Vec::new()));
            self.seen.len() - 1
        });
        let wallets = &mut self.seen[place].1;
        if wallets.len() < WALLETS && !wallets.contains(&wallet) {
            wallets.push(wallet);
        }
        wallets.len() >= WALLETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: usize) -> WorkerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        WorkerId::from_bytes(id)
    }

    fn wallet(number: u8) -> WalletAddress {
        WalletAddress::new(0, [number; 32])
    }

    #[test]
    fn only_several_wallets_are_enough() {
        let mut suspects = Suspects::default();
        for _ in 0..10 {
            assert!(!suspects.note(worker(1), wallet(1)), "one wallet alone");
            assert!(!suspects.note(worker(2), wallet(2)));
        }
        assert!(!suspects.note(worker(1), wallet(2)));
        assert!(suspects.note(worker(1), wallet(3)));
        assert!(suspects.note(worker(1), wallet(3)), "and it stays so");
        assert!(!suspects.note(worker(2), wallet(3)), "each worker for itself");
    }

    #[test]
    fn the_oldest_is_forgotten_for_one_too_many() {
        let mut suspects = Suspects::default();
        for number in 0..=WORKERS_MAX {
            suspects.note(worker(number), wallet(1));
            suspects.note(worker(number), wallet(2));
        }
        assert_eq!(suspects.seen.len(), WORKERS_MAX);
        assert!(!suspects.note(worker(0), wallet(3)), "forgotten");
        assert!(suspects.note(worker(WORKERS_MAX), wallet(3)));
    }
}
