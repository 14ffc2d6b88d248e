//! How often one machine may enrol.
//!
//! Every enrolment leaves its evidence in the store for good, up to 1 MiB. A worker that is
//! admitted and comes back in a loop would fill the disk: so each machine has a token bucket, by
//! the identity that its evidence proves, and not by keys, which are free to make.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cocoon_attest::appraisal::{Appraised, Platform};
use cocoon_primitives::{Assurance, Timestamp};

/// Machines that are remembered at once. Only admitted ones come here; past this many that have
/// enrolled lately, a further one waits.
const MACHINES_MAX: usize = 16 * 1024;
/// For hardware: every guest of a large machine, and some restarts.
const HARDWARE: Allowance = Allowance { burst: 10, every: Duration::from_secs(300) };
/// For software, where one root stands for every worker of a development machine.
const SOFTWARE: Allowance = Allowance { burst: 200, every: Duration::from_secs(60) };

/// So many at once, and one more each time that this has passed.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: u32,
    every: Duration,
}

/// A machine, by what its maker calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Machine {
    Ppid([u8; 16]),
    Chip([u8; 64]),
    SoftwarePpid([u8; 16]),
    SoftwareChip([u8; 64]),
}

/// The machine enrolled too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its machine enrolled too often: again in {} s", wait.as_secs())]
pub(super) struct TooOften {
    pub(super) wait: Duration,
}

/// When each machine will have its whole allowance again: the later, the less is left.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<Machine, Timestamp>>);

impl Machine {
    pub(super) fn of(appraised: &Appraised) -> Self {
        match (&appraised.platform, appraised.assurance) {
            (Platform::Tdx(claims), Assurance::Hardware) => Self::Ppid(claims.ppid.0),
            (Platform::Tdx(claims), Assurance::Software) => Self::SoftwarePpid(claims.ppid.0),
            (Platform::Snp(claims), Assurance::Hardware) => Self::Chip(claims.chip_id.0),
            (Platform::Snp(claims), Assurance::Software) => Self::SoftwareChip(claims.chip_id.0),
        }
    }

    const fn allowance(self) -> Allowance {
        match self {
            Self::Ppid(_) | Self::Chip(_) => HARDWARE,
            Self::SoftwarePpid(_) | Self::SoftwareChip(_) => SOFTWARE,
        }
    }
}

impl Pace {
    /// Takes one enrolment of this machine's allowance.
    pub(super) fn enrol(&self, machine: Machine, now: Timestamp) -> Result<(), TooOften> {
        let Allowance { burst, every } = machine.allowance();
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if machines.len() >= MACHINES_MAX && !machines.contains_key(&machine) {
            machines.retain(|_, full_at| *full_at > now);
            if machines.len() >= MACHINES_MAX {
                return Err(TooOften { wait: every });
            }
        }
        let full_at = machines.get(&machine).map_or(now, |full_at| (*full_at).max(now));
        let after = full_at.saturating_add(every);
        let wait = after.since(now).saturating_sub(every * burst);
        if !wait.is_zero() {
            return Err(TooOften { wait });
        }
        machines.insert(machine, after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cocoon_primitives::{Clock as _, MockClock};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const MACHINE: Machine = Machine::Ppid([1; 16]);

    fn often(pace: &Pace, machine: Machine, now: Timestamp) -> u32 {
        let mut count = 0;
        while pace.enrol(machine, now).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn a_machine_enrols_ten_times_at_once_and_then_twelve_times_an_hour() {
        let (pace, clock) = (Pace::default(), MockClock::at(NOW));
        assert_eq!(often(&pace, MACHINE, clock.now()), 10);
        let refused = pace.enrol(MACHINE, clock.now()).unwrap_err();
        assert_eq!(refused.wait, Duration::from_secs(300));
        clock.advance(refused.wait - Duration::from_millis(1));
        assert!(pace.enrol(MACHINE, clock.now()).is_err());
        clock.advance(Duration::from_millis(1));
        assert_eq!(often(&pace, MACHINE, clock.now()), 1);
        let mut within_an_hour = 0;
        for _ in 0..60 {
            clock.advance(Duration::from_secs(60));
            within_an_hour += often(&pace, MACHINE, clock.now());
        }
        assert_eq!(within_an_hour, 12);
        clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(often(&pace, MACHINE, clock.now()), 10, "no more than the burst is saved up");
    }

    #[test]
    fn machines_do_not_wait_for_each_other_and_software_has_more() {
        let pace = Pace::default();
        assert_eq!(often(&pace, MACHINE, NOW), 10);
        assert_eq!(often(&pace, Machine::Chip([1; 64]), NOW), 10);
        assert_eq!(often(&pace, Machine::SoftwarePpid([1; 16]), NOW), 200);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_nothing_away_and_machines_are_bounded() {
        let pace = Pace::default();
        assert_eq!(often(&pace, MACHINE, NOW), 10);
        assert!(pace.enrol(MACHINE, NOW.saturating_sub(Duration::from_secs(60))).is_err());
        for number in 1..MACHINES_MAX {
            let mut id = [0; 64];
            id[..8].copy_from_slice(&number.to_be_bytes());
            pace.enrol(Machine::Chip(id), NOW).unwrap();
        }
        let one_more = Machine::Chip([255; 64]);
        assert!(pace.enrol(one_more, NOW).is_err());
        let later = NOW.saturating_add(Duration::from_secs(3600));
        assert_eq!(pace.enrol(one_more, later), Ok(()));
        assert_eq!(pace.0.lock().unwrap().len(), 1);
    }
}
