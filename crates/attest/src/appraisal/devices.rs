//! The devices: each leads to its maker's key, answers the nonce, and is there once; together they are
//! as many as the workload states.

use cocoon_primitives::Timestamp;

use super::software_allowed;
use crate::enrol::{DeviceFault, Refusal, SoftwareFault};
use crate::evidence::{Device, DeviceKind};
use crate::policy::Policy;
use crate::verify::{NvidiaRoot, nvidia};

/// `gpu_count` is what the workload states.
pub(super) fn judge(
    devices: &[Device],
    gpu_count: u32,
    nonce: &[u8; 32],
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<nvidia::Claims>, Refusal> {
    let mut judged: Vec<nvidia::Claims> = Vec::with_capacity(devices.len());
    for (index, device) in devices.iter().enumerate() {
        let root = root(device.kind, policy).map_err(Refusal::Software)?;
        let claims = judge_one(root, device, now);
        judged.push(claims.map_err(|fault| Refusal::Device { index, fault })?);
    }
    // A number that no machine has is no machine's.
    let gpu_count = usize::try_from(gpu_count).unwrap_or(usize::MAX);
    nvidia::devices::check(&judged, gpu_count, nonce).map_err(Refusal::Devices)?;
    nvidia::devices::check_switches(&judged).map_err(Refusal::Devices)?;
    Ok(judged)
}

fn judge_one(
    root: NvidiaRoot<'_>,
    device: &Device,
    now: Timestamp,
) -> Result<nvidia::Claims, DeviceFault> {
    let verdict = nvidia::appraise_under(root, &device.report, &device.chain, None, now)
        .map_err(DeviceFault::Unusable)?;
    if let Some(reason) = verdict.refusal() {
        return Err(DeviceFault::Refused(*reason));
    }
    verdict.accepted().cloned().ok_or(DeviceFault::Unjudged)
}

fn root(kind: DeviceKind, policy: &Policy) -> Result<NvidiaRoot<'_>, SoftwareFault> {
    if kind == DeviceKind::Nvidia {
        return Ok(NvidiaRoot::Nvidia);
    }
    let _roots = software_allowed(policy)?;
    #[cfg(feature = "soft-tee")]
    return _roots
        .nvidia_root
        .as_deref()
        .map(NvidiaRoot::Software)
        .ok_or(SoftwareFault::NotAllowed);
    #[cfg(not(feature = "soft-tee"))]
    Err(SoftwareFault::NotBuilt)
}
