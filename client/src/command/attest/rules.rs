//! A policy's rules for one kind of evidence, as checks of their own. Pure.

use cocoon_attest::appraisal::Platform;
use cocoon_attest::policy::{Policy, PolicyFault};
use cocoon_attest::verify::nvidia;
use cocoon_primitives::Timestamp;

/// One rule and what it found.
pub(super) struct Ruled {
    pub(super) name: &'static str,
    pub(super) fault: Option<PolicyFault>,
}

impl Ruled {
    fn of<T>(name: &'static str, found: Result<T, PolicyFault>) -> Self {
        Self { name, fault: found.err() }
    }
}

/// Of a quote or a report: the platform's state and its machine, and what was booted.
pub(super) fn of_guest(policy: &Policy, platform: &Platform, at: Timestamp) -> Vec<Ruled> {
    vec![
        in_force(policy, at),
        Ruled::of("policy_platform", policy.admit_platform(platform, at)),
        Ruled::of("policy_image", policy.admit_image(platform)),
    ]
}

/// Of a GPU or a switch.
pub(super) fn of_device(policy: &Policy, claims: &nvidia::Claims, at: Timestamp) -> Vec<Ruled> {
    vec![in_force(policy, at), Ruled::of("policy_device", policy.admit_device(claims))]
}

fn in_force(policy: &Policy, at: Timestamp) -> Ruled {
    let found = if at < policy.not_after() { Ok(()) } else { Err(PolicyFault::Ended) };
    Ruled::of("policy_in_force", found)
}
