//! NVIDIA GPUs under confidential computing.
//!
//! The bus, NVIDIA's library and the configuration must name one and the same number of GPUs;
//! confidential computing must be on and developers' tools off. The library says so inside a guest
//! that its quote describes, which is what makes it worth something. Reports of switches are not
//! collected: a machine whose policy wants them is not admitted.

mod nvml;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cocoon_attest::evidence::{CHAIN_BYTES_MAX, Device, DeviceKind, REPORT_BYTES_MAX};
use cocoon_attest::verify::event_log::GpuPolicy;

use super::bounded;

const VENDOR: &str = "0x10de";
/// Display controllers and 3D controllers; the rest of a GPU's functions and switches have others.
const CLASSES: [&str; 2] = ["0x0300", "0x0302"];
const ATTRIBUTE_BYTES_MAX: usize = 64;
const BUS_DEVICES_MAX: usize = 65_536;

/// Why GPUs give no evidence.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("failed to read {}", path.display())]
    Bus { path: PathBuf, source: io::Error },
    #[error("NVIDIA's library cannot be used: {0}")]
    Library(String),
    #[error(
        "evidence.gpus says {expected}, the bus has {on_bus} and NVIDIA's library knows {known}"
    )]
    Count { expected: u32, on_bus: u32, known: u32 },
    #[error("confidential computing is not on")]
    NotConfidential,
    #[error("developers' tools are on")]
    Devtools,
    #[error("the report of GPU {0} is empty or too long")]
    Report(u32),
    #[error("the certificates of GPU {0} are empty or too long")]
    Chain(u32),
}

/// The GPUs that a worker uses: a number, which may be none.
#[derive(Debug)]
pub struct NvidiaGpus {
    count: u32,
    /// The kernel's list of devices on the PCI bus.
    bus: PathBuf,
}

/// What NVIDIA's library says about this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) count: u32,
    pub(super) is_confidential: bool,
    pub(super) has_devtools: bool,
}

impl NvidiaGpus {
    pub fn new(count: u32, bus: PathBuf) -> Self {
        Self { count, bus }
    }

    /// What the event log says about them. Without any the library is not asked for.
    pub(super) fn check(&self) -> Result<GpuPolicy, GpuError> {
        if self.count == 0 {
            return Ok(GpuPolicy { gpu_count: 0, cc_on: false, devtools: false });
        }
        let known = nvml::Library::open()?.known()?;
        judge(self.count, on_bus(&self.bus)?, known)
    }

    /// Their reports over `nonce`, judged anew each time: a driver may have been loaded again.
    pub(super) fn reports(&self, nonce: [u8; 32]) -> Result<Vec<Device>, GpuError> {
        if self.count == 0 {
            return Ok(Vec::new());
        }
        let library = nvml::Library::open()?;
        judge(self.count, on_bus(&self.bus)?, library.known()?)?;
        let report = |index| {
            let (report, chain) = library.report(index, nonce)?;
            device(index, report, &chain)
        };
        (0..self.count).map(report).collect()
    }
}

/// Whether what was found is what a worker may run on.
pub(super) fn judge(expected: u32, on_bus: u32, known: Known) -> Result<GpuPolicy, GpuError> {
    let Known { count, is_confidential, has_devtools } = known;
    if count != expected || on_bus != expected {
        return Err(GpuError::Count { expected, on_bus, known: count });
    }
    if !is_confidential {
        return Err(GpuError::NotConfidential);
    }
    if has_devtools {
        return Err(GpuError::Devtools);
    }
    Ok(GpuPolicy { gpu_count: count, cc_on: true, devtools: false })
}

/// A GPU's evidence within its bounds. Certificates are text that may end in zero bytes.
pub(super) fn device(index: u32, report: Vec<u8>, chain: &[u8]) -> Result<Device, GpuError> {
    let ends = chain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let chain = chain[..ends].to_vec();
    if !(1..=REPORT_BYTES_MAX).contains(&report.len()) {
        return Err(GpuError::Report(index));
    }
    if !(1..=CHAIN_BYTES_MAX).contains(&chain.len()) {
        return Err(GpuError::Chain(index));
    }
    Ok(Device { kind: DeviceKind::Nvidia, report, chain })
}

/// NVIDIA's GPUs on the PCI bus.
pub(super) fn on_bus(bus: &Path) -> Result<u32, GpuError> {
    let failed = |source| GpuError::Bus { path: bus.to_owned(), source };
    let mut count = 0;
    for entry in fs::read_dir(bus).map_err(failed)?.take(BUS_DEVICES_MAX) {
        let device = entry.map_err(failed)?.path();
        let attribute = |name| {
            let bytes = bounded::read_io(&device.join(name), ATTRIBUTE_BYTES_MAX).ok().flatten();
            String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
        };
        let class = attribute("class");
        if attribute("vendor").trim() == VENDOR && CLASSES.iter().any(|of| class.starts_with(of)) {
            count += 1;
        }
    }
    Ok(count)
}
