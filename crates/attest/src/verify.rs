//! Vendors' evidence, judged offline: bytes, collateral and the time are arguments.
//!
//! Shape: one module per kind, each of which runs an [`Appraisal`]: checks by their stable names, in
//! order, and the first refusal. What comes out is a [`Verdict`].
//! Invariants: a verdict is accepted only where claims were read, no check refused, and at least one
//! check passed; a check that did not run says so, and why; nothing here trusts a length that the
//! evidence names. The scope is the vendor's: who made the hardware and in which state it is, not
//! what runs on it, which takes a policy.

pub mod certificate;
mod der;
pub mod event_log;
mod hex;
pub mod nvidia;
pub mod revocations;
mod root;
pub mod snp;
pub mod tdx;

use serde::Serialize;

pub use self::hex::Hex;
pub use self::root::{NvidiaRoot, SnpRoot, TdxRoot};

/// Why evidence was refused: one enum per kind of evidence.
pub trait Refusal: std::error::Error {
    /// The name that scripts branch on; it never changes.
    fn code(&self) -> &'static str;
}

/// One check of an appraisal, by its stable name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "why", rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    /// Not judged, with the reason.
    NotChecked(&'static str),
    Refused,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotChecked(_) => "not_checked",
            Self::Refused => "refused",
        }
    }
}

/// What an appraisal found; made by [`Appraisal::finish`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<C, R> {
    claims: Option<C>,
    checks: Vec<Check>,
    refusal: Option<R>,
}

impl<C, R> Verdict<C, R> {
    /// The claims, where everything that was checked passed.
    pub fn accepted(&self) -> Option<&C> {
        let passed = self.checks.iter().any(|check| check.outcome == Outcome::Passed);
        self.claims.as_ref().filter(|_| self.refusal.is_none() && passed)
    }

    /// What the evidence says of itself, whether or not it is to be believed.
    pub fn claims(&self) -> Option<&C> {
        self.claims.as_ref()
    }

    /// In the order in which they ran.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The first refusal.
    pub fn refusal(&self) -> Option<&R> {
        self.refusal.as_ref()
    }
}

/// A verdict in the making. It goes on after a refusal where the caller does, so that "signature:
/// valid" can stand beside the refusal of a whole product line.
#[derive(Debug)]
pub struct Appraisal<R> {
    checks: Vec<Check>,
    refusal: Option<R>,
}

impl<R> Appraisal<R> {
    #[expect(clippy::new_without_default, reason = "an empty appraisal decides nothing")]
    pub const fn new() -> Self {
        Self { checks: Vec::new(), refusal: None }
    }

    /// Records how the check `name` ended; its value where it passed.
    pub fn require<T>(&mut self, name: &'static str, result: Result<T, R>) -> Option<T> {
        match result {
            Ok(value) => {
                self.checks.push(Check { name, outcome: Outcome::Passed });
                Some(value)
            }
            Err(reason) => {
                self.checks.push(Check { name, outcome: Outcome::Refused });
                self.refusal.get_or_insert(reason);
                None
            }
        }
    }

    /// Records that the check `name` holds, or refuses for `reason`.
    pub fn ensure(&mut self, name: &'static str, holds: bool, reason: R) {
        self.require(name, if holds { Ok(()) } else { Err(reason) });
    }

    pub fn not_checked(&mut self, name: &'static str, why: &'static str) {
        self.checks.push(Check { name, outcome: Outcome::NotChecked(why) });
    }

    pub fn finish<C>(self, claims: Option<C>) -> Verdict<C, R> {
        Verdict { claims, checks: self.checks, refusal: self.refusal }
    }
}

/// Whether a guest's report data is the nonce, filled up with zeros to 64 bytes.
fn is_report_data(nonce: &[u8], report_data: &[u8; 64]) -> bool {
    report_data
        .split_at_checked(nonce.len())
        .is_some_and(|(head, rest)| head == nonce && rest.iter().all(|byte| *byte == 0))
}
