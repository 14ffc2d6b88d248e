//! The GPUs and switches.

use crate::enrol::Workload;
use crate::policy::Policy;
use crate::policy::fault::{GpuFault, PolicyFault, Revoked};
use crate::policy::rules::GpuRow;
use crate::verify::nvidia::{Architecture, Claims, golden};

/// `gpus` is what the image's row states; that there are as many was found with the evidence.
pub(super) fn workload(workload: &Workload, gpus: u32) -> Result<(), PolicyFault> {
    let checks = [
        (workload.gpu_count == gpus, GpuFault::Count),
        (gpus == 0 || workload.cc_on, GpuFault::ConfidentialComputing),
        (!workload.devtools, GpuFault::Devtools),
    ];
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, fault)) => Err(PolicyFault::Gpu(fault)),
        None => Ok(()),
    }
}

/// One row must hold as a whole; the reason is that of the row that held longest.
pub(super) fn device(policy: &Policy, device: &Claims) -> Result<(), PolicyFault> {
    // Any of its certificates: the device's own, its firmware's, or one of who made it.
    let revoked = &policy.revoked().gpu_serials;
    if device.chain_serials.iter().any(|serial| revoked.contains(serial)) {
        return Err(PolicyFault::Revoked(Revoked::Gpu));
    }
    let faults = policy.gpus().iter().map(|row| fault(row, device));
    let best = faults.max_by_key(|fault| fault.map_or(usize::MAX, depth));
    match best.unwrap_or(Some(GpuFault::Architecture)) {
        None => Ok(()),
        Some(fault) => Err(PolicyFault::Gpu(fault)),
    }
}

/// The first part of a row that a device does not fit.
fn fault(row: &GpuRow, device: &Claims) -> Option<GpuFault> {
    let lists = |list: &[String], found: &Option<String>| {
        found.as_ref().is_some_and(|found| list.contains(found))
    };
    if device.architecture != Some(row.architecture) {
        return Some(GpuFault::Architecture);
    }
    if !lists(&row.drivers, &device.driver_version) {
        return Some(GpuFault::Driver);
    }
    if !lists(&row.vbios, &device.vbios_version) {
        return Some(GpuFault::Vbios);
    }
    // A switch has no such flag.
    let is_switch = row.architecture == Architecture::Ls10;
    if !is_switch && !device.feature_flag.is_some_and(|mode| row.modes.contains(&mode)) {
        return Some(GpuFault::Mode);
    }
    let compared = row.golden.as_ref().map(|golden| golden::compare(golden, device));
    match compared {
        Some(Err(_)) => Some(GpuFault::Measurement),
        Some(Ok(_)) | None => None,
    }
}

const fn depth(fault: GpuFault) -> usize {
    match fault {
        GpuFault::Count | GpuFault::ConfidentialComputing | GpuFault::Devtools => 0,
        GpuFault::Architecture => 1,
        GpuFault::Driver => 2,
        GpuFault::Vbios => 3,
        GpuFault::Mode => 4,
        GpuFault::Measurement => 5,
    }
}
