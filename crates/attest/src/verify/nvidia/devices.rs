//! The devices of one machine, judged together: each of them is itself, once, and answers the same nonce.
//!
//! Cost: no cryptography; it is over the claims of devices that were accepted one by one.

use std::collections::BTreeSet;

use super::claims::{Architecture, Claims, Status};

/// Why devices do not make up a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("there are {found} GPUs, not {expected}")]
    Count { found: usize, expected: usize },
    #[error("two reports are of the same device")]
    Repeated,
    #[error("a report answers another nonce")]
    Nonce,
    #[error("a device is of no known architecture")]
    Architecture,
    #[error("the GPUs are not all of one architecture")]
    Mixed,
    #[error("a GPU is linked to other switches than those that are here")]
    Switches,
}

impl Fault {
    /// The name that scripts branch on; it never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Count { .. } => "gpu_count",
            Self::Repeated => "gpu_repeated",
            Self::Nonce => "gpu_nonce",
            Self::Architecture => "gpu_architecture",
            Self::Mixed => "gpu_mixed",
            Self::Switches => "gpu_switches",
        }
    }
}

/// Whether these are `gpu_count` different GPUs of one architecture, and any number of different switches,
/// that all answer `nonce`.
pub fn check(devices: &[Claims], gpu_count: usize, nonce: &[u8; 32]) -> Result<(), Fault> {
    let serials: BTreeSet<_> = devices.iter().map(|device| &device.device_serial).collect();
    if serials.len() != devices.len() {
        return Err(Fault::Repeated);
    }
    let nonce = hex::encode(nonce);
    if devices.iter().any(|device| device.nonce != nonce) {
        return Err(Fault::Nonce);
    }
    if devices.iter().any(|device| device.architecture.is_none()) {
        return Err(Fault::Architecture);
    }
    let gpus: Vec<_> = devices.iter().filter(|device| is_gpu(device)).collect();
    if gpus.len() != gpu_count {
        return Err(Fault::Count { found: gpus.len(), expected: gpu_count });
    }
    if gpus.windows(2).any(|pair| pair[0].architecture != pair[1].architecture) {
        return Err(Fault::Mixed);
    }
    Ok(())
}

/// Whether each GPU with protected PCIe is linked to exactly the switches that are here. Without such a GPU
/// there is nothing to judge.
pub fn check_switches(devices: &[Claims]) -> Result<(), Fault> {
    let (gpus, switches): (Vec<_>, Vec<_>) = devices.iter().partition(|device| is_gpu(device));
    let here: BTreeSet<_> =
        switches.iter().flat_map(|switch| linked(&switch.switch_pdis)).collect();
    let mut protected =
        gpus.iter().filter(|gpu| gpu.protected_pcie == Some(Status::Enabled)).peekable();
    if protected.peek().is_none() {
        return Ok(());
    }
    let is_whole = !here.is_empty() && here.len() == switches.len();
    if is_whole && protected.all(|gpu| linked(&gpu.switch_pdis) == here) {
        Ok(())
    } else {
        Err(Fault::Switches)
    }
}

fn is_gpu(device: &Claims) -> bool {
    device.architecture != Some(Architecture::Ls10)
}

/// What is at the links, once each.
fn linked(identifiers: &[String]) -> BTreeSet<&str> {
    let used = |identifier: &&String| identifier.bytes().any(|digit| digit != b'0');
    identifiers.iter().filter(used).map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
