//! The attestation policy in force: loaded, replaced while the gateway runs, never rolled back.
//!
//! Shape: [`PolicySource`] says where the file is and whose signatures it needs; [`PolicyStore`]
//! holds the one [`InForce`] and tells subscribers of the next; its watch looks at the files four
//! times a second and at SIGHUP. The uplink re-appraises its leases whenever the store changes.
//!
//! Invariants: a policy is in force only after its signatures, its rules, its mode and its version
//! held, and after its version was on the disk, so that no earlier one can follow, restarts
//! included. A bad file changes nothing: the old policy stays, until its own end. Source: the
//! attestation design §4.9.

mod seen;
mod source;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cocoon_attest::policy::{Policy, PolicyError};
use cocoon_primitives::{Digest, Timestamp};
use tokio::sync::watch as channel;

pub use source::{PolicyProblem, PolicySource, PolicyTrust};

use source::Files;

/// A policy, and the bytes that it was read from.
#[derive(Debug, PartialEq, Eq)]
pub struct InForce {
    pub policy: Policy,
    /// The file, as its digest and its signatures cover it.
    pub text: Vec<u8>,
    /// The file of signatures; empty for an unsigned policy.
    pub signatures: Vec<u8>,
}

impl InForce {
    pub fn digest(&self) -> Digest {
        self.policy.digest()
    }
}

/// Every reason why a file is not the policy.
#[derive(Debug)]
pub struct Refused(pub Vec<PolicyProblem>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policy is refused:")?;
        self.0.iter().try_for_each(|fault| write!(f, " {fault};"))
    }
}

impl std::error::Error for Refused {}

/// What was looked at last.
#[derive(Debug, Default)]
struct Tried {
    /// Judged, good or bad: not judged again. `None` where the disk failed.
    files: Option<Files>,
    /// Why they were refused, as it was told.
    told: String,
}

/// The policy in force.
#[derive(Debug)]
pub struct PolicyStore {
    source: PolicySource,
    seen_path: PathBuf,
    tried: Mutex<Tried>,
    in_force: channel::Sender<Arc<InForce>>,
}

impl PolicyStore {
    /// Loads the policy. Blocks on the disk.
    pub fn open(
        source: PolicySource,
        data_dir: &Path,
        now: Timestamp,
    ) -> Result<Arc<Self>, Refused> {
        let seen_path = data_dir.join("policy.seen");
        let files = source.read().map_err(|fault| Refused(vec![fault]))?;
        let in_force = source.judge(&files).map_err(Refused)?;
        source.check_end(&in_force.policy, now).map_err(|fault| Refused(vec![fault]))?;
        advance(&seen_path, &in_force.policy).map_err(|fault| Refused(vec![fault]))?;
        announce(&in_force.policy);
        let (in_force, _) = channel::channel(Arc::new(in_force));
        let tried = Mutex::new(Tried { files: Some(files), told: String::new() });
        Ok(Arc::new(Self { source, seen_path, tried, in_force }))
    }

    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Wakes up at every change; the first value counts as seen.
    pub fn subscribe(&self) -> channel::Receiver<Arc<InForce>> {
        self.in_force.subscribe()
    }

    /// Reads the files again and puts a good new policy in force; `None` where nothing changed,
    /// or is as bad as it was. Blocks on the disk.
    pub fn reload(&self, now: Timestamp) -> Result<Option<Arc<InForce>>, Refused> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        match self.look(&mut tried, now) {
            Ok(Some(new)) => {
                tried.told.clear();
                Ok(Some(new))
            }
            Ok(None) => Ok(None),
            Err(faults) => {
                let refused = Refused(faults);
                let reason = refused.to_string();
                if tried.told == reason {
                    return Ok(None);
                }
                tried.told = reason;
                Err(refused)
            }
        }
    }

    fn look(
        &self,
        tried: &mut Tried,
        now: Timestamp,
    ) -> Result<Option<Arc<InForce>>, Vec<PolicyProblem>> {
        let files = self.source.read().map_err(|fault| {
            tried.files = None;
            vec![fault]
        })?;
        if tried.files.as_ref() == Some(&files) {
            return Ok(None);
        }
        let judged = self.source.judge(&files);
        tried.files = Some(files);
        let new = judged?;
        if new.policy.not_after() <= now {
            return Err(vec![PolicyProblem::Policy(PolicyError::Expired)]);
        }
        self.source.check_end(&new.policy, now).map_err(|fault| {
            // It may be put in force later, as it is.
            tried.files = None;
            vec![fault]
        })?;
        advance(&self.seen_path, &new.policy).map_err(|fault| {
            if !matches!(fault, PolicyProblem::Policy(_)) {
                tried.files = None;
            }
            vec![fault]
        })?;
        announce(&new.policy);
        let new = Arc::new(new);
        self.in_force.send_replace(Arc::clone(&new));
        Ok(Some(new))
    }
}

/// Refuses what was superseded; else remembers this policy durably before anybody acts on it.
fn advance(seen_path: &Path, policy: &Policy) -> Result<(), PolicyProblem> {
    let last = seen::read(seen_path)?;
    policy.supersedes(last).map_err(PolicyProblem::Policy)?;
    let seen = policy.seen();
    if last == Some(seen) { Ok(()) } else { seen::write(seen_path, seen) }
}

fn announce(policy: &Policy) {
    let (version, digest) = (policy.version(), policy.digest());
    // For an alert some days before nobody is admitted any more.
    let ends = u32::try_from(policy.not_after().as_seconds()).unwrap_or(u32::MAX);
    metrics::gauge!("cocoon_policy_not_after_seconds").set(f64::from(ends));
    tracing::info!(
        policy.version = version, policy.digest = %digest,
        "policy {version} is in force"
    );
}
