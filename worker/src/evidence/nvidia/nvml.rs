//! The calls of NVIDIA's library, which is loaded when it is first needed. No decision is made here:
//! nothing of this file can be run where there is no such GPU.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{GpuError, Known};

/// The library, loaded.
pub(super) struct Library {
    nvml: Nvml,
}

impl Library {
    pub(super) fn open() -> Result<Self, GpuError> {
        Nvml::init().map(|nvml| Self { nvml }).map_err(|error| failed(&error))
    }

    pub(super) fn known(&self) -> Result<Known, GpuError> {
        let count = self.nvml.device_count().map_err(|error| failed(&error))?;
        let mut known = Known { count, is_confidential: count > 0, has_devtools: false };
        for index in 0..count {
            let device = self.nvml.device_by_index(index).map_err(|error| failed(&error))?;
            // Both are of the whole machine, and reached through any device.
            known.is_confidential &= device.is_cc_enabled().map_err(|error| failed(&error))?;
            known.has_devtools |=
                device.is_cc_dev_mode_enabled().map_err(|error| failed(&error))?;
        }
        Ok(known)
    }

    /// A GPU's report over `nonce`, and its certificates in PEM.
    pub(super) fn report(
        &self,
        index: u32,
        nonce: [u8; 32],
    ) -> Result<(Vec<u8>, Vec<u8>), GpuError> {
        let device = self.nvml.device_by_index(index).map_err(|error| failed(&error))?;
        let report = device.confidential_compute_gpu_attestation_report(nonce);
        let report = report.map_err(|error| failed(&error))?.attestation_report;
        let chain = device.confidential_compute_gpu_certificate();
        let chain = chain.map_err(|error| failed(&error))?.attestation_cert_chain;
        Ok((report, chain))
    }
}

fn failed(error: &NvmlError) -> GpuError {
    GpuError::Library(error.to_string())
}
