//! What this machine can show about itself.
//!
//! Shape: an [`EvidenceSource`] is a guest of one kind and its GPUs. At start it judges the GPUs
//! ([`EvidenceSource::gpus`]) and has the event log measured ([`EvidenceSource::measure`]); for each
//! challenge the GPUs answer first ([`EvidenceSource::devices`]) and the guest last, over what binds
//! all of it ([`EvidenceSource::guest`]).
//!
//! Every call waits for a kernel, a device or a disk: run it off the async threads. What a vendor
//! publishes is read from its file each time, so whatever keeps the file fresh needs no restart of
//! the worker. All paths are parameters: tests run everything over a folder, and only what a kernel
//! or NVIDIA's library answers is theirs.
//!
//! The kind `software` exists only with the cargo feature `soft-tee`.

mod bounded;
mod nvidia;
mod rtmr;
mod snp;
#[cfg(feature = "soft-tee")]
pub mod software;
mod tdx;
mod tsm;

#[cfg(test)]
mod tests;

use cocoon_attest::evidence::{Device, Evidence};
use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};
use cocoon_primitives::Timestamp;

pub use bounded::FileError;
pub use nvidia::{GpuError, NvidiaGpus};
pub use rtmr::RegisterError;
pub use snp::{SnpError, SnpGuest};
#[cfg(feature = "soft-tee")]
pub use software::SoftwareGuest;
pub use tdx::{TdxError, TdxGuest};
pub use tsm::TsmError;

/// What this worker calls its image, unless the configuration says otherwise.
pub const IMAGE: &str = concat!("cocoon-worker ", env!("CARGO_PKG_VERSION"));

/// A guest of one kind, and its GPUs.
#[derive(Debug)]
pub enum EvidenceSource {
    Tdx(TdxGuest),
    Snp(SnpGuest),
    #[cfg(feature = "soft-tee")]
    Software(Box<SoftwareGuest>),
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("the TDX guest gives no evidence")]
    Tdx(#[from] TdxError),
    #[error("the SEV-SNP guest gives no evidence")]
    Snp(#[from] SnpError),
    #[error("the GPUs give no evidence")]
    Gpu(#[from] GpuError),
}

impl EvidenceSource {
    /// The name of what was booted, as the workload says it.
    pub fn image(&self) -> &str {
        match self {
            Self::Tdx(_) | Self::Snp(_) => IMAGE,
            #[cfg(feature = "soft-tee")]
            Self::Software(guest) => guest.image(),
        }
    }

    /// What was found of GPUs; refused where they protect nothing.
    pub fn gpus(&self) -> Result<GpuPolicy, EvidenceError> {
        match self {
            Self::Tdx(guest) => Ok(guest.gpus.check()?),
            Self::Snp(guest) => Ok(guest.gpus.check()?),
            #[cfg(feature = "soft-tee")]
            Self::Software(guest) => Ok(guest.gpus()),
        }
    }

    /// Has the log measured, where the guest can do that itself. Once in the life of a machine; a
    /// worker that starts again finds what it has measured before.
    pub fn measure(&self, log: &EventLog) -> Result<(), EvidenceError> {
        match self {
            Self::Tdx(guest) => Ok(guest.measure(log)?),
            // The host put the log's hash beside the guest when it launched it.
            Self::Snp(_) => Ok(()),
            #[cfg(feature = "soft-tee")]
            Self::Software(_) => Ok(()),
        }
    }

    /// The reports of all GPUs over `nonce`.
    pub fn devices(&self, nonce: [u8; 32], now: Timestamp) -> Result<Vec<Device>, EvidenceError> {
        match self {
            Self::Tdx(TdxGuest { gpus, .. }) | Self::Snp(SnpGuest { gpus, .. }) => {
                // Only software looks at the time.
                let _ = now;
                Ok(gpus.reports(nonce)?)
            }
            #[cfg(feature = "soft-tee")]
            Self::Software(guest) => Ok(guest.devices(nonce, now)),
        }
    }

    /// The guest's evidence over `report_data`, all 64 bytes, and the log that was measured.
    pub fn guest(
        &self,
        report_data: [u8; 64],
        log: &EventLog,
        now: Timestamp,
    ) -> Result<Evidence, EvidenceError> {
        match self {
            Self::Tdx(guest) => Ok(guest.evidence(&report_data, log)?),
            Self::Snp(guest) => {
                let _ = now;
                Ok(guest.evidence(&report_data, log)?)
            }
            #[cfg(feature = "soft-tee")]
            Self::Software(guest) => Ok(guest.evidence(report_data, log, now)),
        }
    }
}
