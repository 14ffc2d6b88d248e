//! Whether a policy admits what was proved: pure comparisons, so that a reload can ask again.

mod gpu;
mod platform;

use cocoon_primitives::{Assurance, Timestamp};

use super::Policy;
use super::fault::{ImageFault, MachineFault, ModelFault, PolicyFault, Revoked};
use super::rules::{HardwareId, ImageRow, Measured, ModelRow};
use crate::appraisal::{Appraised, Platform, software_allowed};
use crate::enrol::{Refusal, SoftwareFault, WorkloadModel};
use crate::verify::nvidia;

/// What a policy grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The name of the image's row.
    pub image: String,
    /// When the first thing that it rests on ends: collateral, the machine's row, the policy.
    pub until: Timestamp,
}

impl Policy {
    /// Judges what was proved, at enrolment and again whenever the policy changed.
    pub fn admit(&self, appraised: &Appraised, now: Timestamp) -> Result<Admission, Refusal> {
        if appraised.assurance == Assurance::Software {
            software_allowed(self).map_err(Refusal::Software)?;
            if !appraised.software_roots.are_named_by(self, appraised.platform.tee()) {
                return Err(Refusal::Software(SoftwareFault::OtherRoot));
            }
        }
        self.judge(appraised, now).map_err(Refusal::Policy)
    }

    fn judge(&self, appraised: &Appraised, now: Timestamp) -> Result<Admission, PolicyFault> {
        if now >= self.not_after() {
            return Err(PolicyFault::Ended);
        }
        if now >= appraised.collateral_until {
            return Err(PolicyFault::CollateralEnded);
        }
        if self.revoked().workers.contains(&appraised.worker_id) {
            return Err(PolicyFault::Revoked(Revoked::Worker));
        }
        let machine_until = self.admit_platform(&appraised.platform, now)?;
        let image = self.image(&appraised.platform, Some(appraised.workload.gpu_count))?;
        gpu::workload(&appraised.workload, image.gpus)?;
        for device in &appraised.devices {
            self.admit_device(device)?;
        }
        for model in &appraised.workload.models {
            self.model(model)?;
        }
        let until = appraised.collateral_until.min(self.not_after());
        let until = machine_until.map_or(until, |ends| until.min(ends));
        Ok(Admission { image: image.name.clone(), until })
    }

    /// The processor's part alone, for who has no more than a quote or a report: the platform's state
    /// and the machine. When the machine's row ends, where it does.
    pub fn admit_platform(
        &self,
        platform: &Platform,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, PolicyFault> {
        let hardware = match platform {
            Platform::Tdx(claims) => {
                platform::tdx(self.tdx(), claims, now).map_err(PolicyFault::Tdx)?;
                HardwareId::Ppid(claims.ppid)
            }
            Platform::Snp(claims) => {
                platform::snp(self.snp(), claims).map_err(PolicyFault::Snp)?;
                HardwareId::Chip(claims.chip_id)
            }
        };
        self.machine(hardware, now)
    }

    /// The image's part alone: the name of its row.
    pub fn admit_image(&self, platform: &Platform) -> Result<&str, PolicyFault> {
        self.image(platform, None).map(|row| row.name.as_str())
    }

    /// One GPU's or switch's part alone.
    pub fn admit_device(&self, device: &nvidia::Claims) -> Result<(), PolicyFault> {
        gpu::device(self, device)
    }

    /// When the machine's row ends.
    fn machine(&self, id: HardwareId, now: Timestamp) -> Result<Option<Timestamp>, PolicyFault> {
        if self.revoked().hardware.contains(&id) {
            return Err(PolicyFault::Revoked(Revoked::Hardware));
        }
        let Some(row) = self.machines().iter().find(|row| row.id == id) else {
            let refused = PolicyFault::Machine(MachineFault::NotListed);
            return if self.rules.any_machine { Ok(None) } else { Err(refused) };
        };
        if row.not_after.is_some_and(|ends| now >= ends) {
            return Err(PolicyFault::Machine(MachineFault::Ended));
        }
        if row.level < self.rules.machine_level {
            return Err(PolicyFault::Machine(MachineFault::Level));
        }
        Ok(row.not_after)
    }

    /// The row whose registers are the measured ones, all together. Where several rows have them, the
    /// one with this number of GPUs.
    fn image(&self, platform: &Platform, gpus: Option<u32>) -> Result<&ImageRow, PolicyFault> {
        let measured: Vec<&ImageRow> =
            self.images().iter().filter(|row| is_measured(&row.measured, platform)).collect();
        if measured.is_empty() {
            return Err(PolicyFault::Image(ImageFault::NotListed));
        }
        let configured: Vec<&ImageRow> =
            measured.into_iter().filter(|row| is_configured(&row.measured, platform)).collect();
        let fits = |row: &&&ImageRow| gpus.is_none_or(|gpus| row.gpus == gpus);
        let row = configured.iter().find(fits).or(configured.first());
        let row = *row.ok_or(PolicyFault::Image(ImageFault::Configuration))?;
        // The same guest under two names is revoked with either.
        if configured.iter().any(|row| self.revoked().images.contains(&row.name)) {
            return Err(PolicyFault::Revoked(Revoked::Image));
        }
        Ok(row)
    }

    fn model(&self, model: &WorkloadModel) -> Result<(), PolicyFault> {
        let revoked = self.revoked();
        if revoked.model_names.contains(&model.name)
            || revoked.manifests.contains(&model.manifest_digest)
        {
            return Err(PolicyFault::Revoked(Revoked::Model));
        }
        if self.rules.any_model {
            return Ok(());
        }
        let refused = |fault| Err(PolicyFault::Model { name: model.name.clone(), fault });
        let mut fault = ModelFault::NotListed;
        for row in self.models().iter().filter(|row| row.name == model.name) {
            match model_fault(row, model) {
                Some(ModelFault::Manifest) if fault != ModelFault::NotListed => {}
                Some(found) => fault = found,
                None => return Ok(()),
            }
        }
        refused(fault)
    }
}

/// The first part of a row that a model does not fit.
fn model_fault(row: &ModelRow, model: &WorkloadModel) -> Option<ModelFault> {
    let checks = [
        (row.manifest == model.manifest_digest, ModelFault::Manifest),
        (row.engine.as_ref().is_none_or(|engine| *engine == model.engine), ModelFault::Engine),
        (
            row.context_length.is_none_or(|length| length == model.context_length),
            ModelFault::ContextLength,
        ),
        (row.kind.is_none_or(|kind| kind == model.kind), ModelFault::Kind),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, fault)| fault)
}

fn is_measured(measured: &Measured, platform: &Platform) -> bool {
    match (measured, platform) {
        (Measured::Tdx(row), Platform::Tdx(claims)) => {
            row.mr_td == claims.mr_td
                && row.rtmr0 == claims.rtmr0
                && row.rtmr1 == claims.rtmr1
                && row.rtmr2 == claims.rtmr2
        }
        (Measured::Snp(measurement), Platform::Snp(claims)) => *measurement == claims.measurement,
        (Measured::Tdx(_), Platform::Snp(_)) | (Measured::Snp(_), Platform::Tdx(_)) => false,
    }
}

/// What a row does not state is not compared.
fn is_configured(measured: &Measured, platform: &Platform) -> bool {
    let (Measured::Tdx(row), Platform::Tdx(claims)) = (measured, platform) else { return true };
    row.mr_config_id.is_none_or(|stated| stated == claims.mr_config_id)
        && row.mr_owner.is_none_or(|stated| stated == claims.mr_owner)
        && row.mr_owner_config.is_none_or(|stated| stated == claims.mr_owner_config)
}
