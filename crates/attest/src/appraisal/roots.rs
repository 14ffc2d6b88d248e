//! Whose signatures stood for software's evidence, so that another root in the policy ends what rested on
//! the one before.

use cocoon_primitives::Digest;

use crate::evidence::{Device, Kind};
use crate::policy::Policy;
use crate::sha256;

/// The software roots that evidence led to, by SHA-256 of their certificates; none where it was a vendor's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SoftwareRootsUsed {
    pub platform: Option<Digest>,
    pub devices: Option<Digest>,
}

impl SoftwareRootsUsed {
    pub(super) fn of(kind: Kind, devices: &[Device], policy: &Policy) -> Self {
        let tee = if matches!(kind, Kind::Tdx | Kind::SoftTdx) { "tdx" } else { "snp" };
        let has_software = devices.iter().any(|device| device.kind.is_software());
        Self {
            platform: kind.is_software().then(|| platform(policy, tee)).flatten(),
            devices: has_software.then(|| of_devices(policy)).flatten(),
        }
    }

    /// Whether the policy names the same ones; `tee` is the platform's, `tdx` or `snp`.
    pub(crate) fn are_named_by(&self, policy: &Policy, tee: &str) -> bool {
        self.platform.is_none_or(|used| platform(policy, tee) == Some(used))
            && self.devices.is_none_or(|used| of_devices(policy) == Some(used))
    }
}

fn platform(policy: &Policy, tee: &str) -> Option<Digest> {
    let roots = policy.software()?;
    digest(if tee == "tdx" { &roots.tdx_root } else { &roots.snp_signer })
}

fn of_devices(policy: &Policy) -> Option<Digest> {
    digest(&policy.software()?.nvidia_root)
}

fn digest(root: &Option<Vec<u8>>) -> Option<Digest> {
    root.as_ref().map(|der| Digest::from_bytes(sha256(&[der])))
}
