//! `[evidence]`: what this machine is, and where that is asked.

use std::path::PathBuf;

use cocoon_attest::evidence::DEVICES_MAX;
use cocoon_attest::policy::Mode;
use serde::Deserialize;

use super::Problem;
use crate::evidence::{EvidenceSource, NvidiaGpus, SnpGuest, TdxGuest};

/// Where Linux has them.
const TSM_REPORTS: &str = "/sys/kernel/config/tsm/report";
const TDX_MEASUREMENTS: &str = "/sys/devices/virtual/misc/tdx_guest/measurements";
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvidence {
    /// `tdx`, `snp` or `software`.
    kind: String,
    /// GPUs that the models run on; none if absent.
    #[serde(default)]
    gpus: u32,
    /// What Intel publishes about this platform, as JSON; read for each evidence.
    tdx_collateral: Option<PathBuf>,
    tdx_measurements: Option<PathBuf>,
    /// The certificate of this chip, DER; without it the host has to bring it.
    snp_vcek: Option<PathBuf>,
    /// AMD's revocation list, DER; read for each evidence.
    snp_crl: Option<PathBuf>,
    tsm_reports: Option<PathBuf>,
    pci_devices: Option<PathBuf>,
    /// The folder of `cocoon-worker soft-tee init`.
    software_tee: Option<PathBuf>,
    /// Which processor software plays: `tdx`, or `snp`.
    tee: Option<String>,
    /// What software says was booted.
    image: Option<String>,
}

impl RawEvidence {
    pub(super) fn check(self, mode: Mode, problems: &mut Vec<Problem>) -> Option<EvidenceSource> {
        if usize::try_from(self.gpus).is_ok_and(|gpus| gpus > DEVICES_MAX) {
            problems.push(Problem::Gpus);
        }
        self.check_fields(problems);
        if mode == Mode::Production {
            self.check_places(problems);
        }
        match self.kind.as_str() {
            "tdx" => self.tdx(problems),
            "snp" => Some(self.snp()),
            "software" => {
                if mode == Mode::Production {
                    problems.push(Problem::SoftwareInProduction);
                }
                self.software(problems)
            }
            _ => {
                problems.push(Problem::EvidenceKind(self.kind));
                None
            }
        }
    }

    /// A setting of another kind is a mistake, and not to be passed over.
    fn check_fields(&self, problems: &mut Vec<Problem>) {
        let (is_tdx, is_snp) = (self.kind == "tdx", self.kind == "snp");
        let is_software = self.kind == "software";
        let is_hardware = is_tdx || is_snp;
        for (field, is_set, is_fitting) in [
            ("tdx_collateral", self.tdx_collateral.is_some(), is_tdx),
            ("tdx_measurements", self.tdx_measurements.is_some(), is_tdx),
            ("snp_vcek", self.snp_vcek.is_some(), is_snp),
            ("snp_crl", self.snp_crl.is_some(), is_snp),
            ("tsm_reports", self.tsm_reports.is_some(), is_hardware),
            ("pci_devices", self.pci_devices.is_some(), is_hardware),
            ("software_tee", self.software_tee.is_some(), is_software),
            ("tee", self.tee.is_some(), is_software),
            ("image", self.image.is_some(), is_software),
        ] {
            if is_set && !is_fitting && (is_hardware || is_software) {
                problems.push(Problem::EvidenceField { field, kind: self.kind.clone() });
            }
        }
    }

    /// In production, evidence comes from the kernel and from nowhere else.
    fn check_places(&self, problems: &mut Vec<Problem>) {
        for (field, named, usual) in [
            ("tsm_reports", &self.tsm_reports, TSM_REPORTS),
            ("tdx_measurements", &self.tdx_measurements, TDX_MEASUREMENTS),
            ("pci_devices", &self.pci_devices, PCI_DEVICES),
        ] {
            if named.as_ref().is_some_and(|named| named.as_os_str() != usual) {
                problems.push(Problem::EvidencePlace { field, usual });
            }
        }
    }

    fn nvidia(&self) -> NvidiaGpus {
        NvidiaGpus::new(self.gpus, or(self.pci_devices.as_ref(), PCI_DEVICES))
    }

    fn tdx(self, problems: &mut Vec<Problem>) -> Option<EvidenceSource> {
        let reports = or(self.tsm_reports.as_ref(), TSM_REPORTS);
        let measurements = or(self.tdx_measurements.as_ref(), TDX_MEASUREMENTS);
        let gpus = self.nvidia();
        let Some(collateral) = self.tdx_collateral else {
            problems.push(Problem::CollateralMissing);
            return None;
        };
        Some(EvidenceSource::Tdx(TdxGuest::new(reports, measurements, collateral, gpus)))
    }

    fn snp(self) -> EvidenceSource {
        let reports = or(self.tsm_reports.as_ref(), TSM_REPORTS);
        let gpus = self.nvidia();
        EvidenceSource::Snp(SnpGuest::new(reports, self.snp_vcek, self.snp_crl, gpus))
    }

    #[cfg(feature = "soft-tee")]
    fn software(self, problems: &mut Vec<Problem>) -> Option<EvidenceSource> {
        use crate::evidence::software::{SoftwareGuest, SoftwareKind};
        let kind = match self.tee.as_deref() {
            None | Some("tdx") => SoftwareKind::Tdx,
            Some("snp") => SoftwareKind::Snp,
            Some(_) => {
                problems.push(Problem::SoftwareKind);
                return None;
            }
        };
        let Some(folder) = self.software_tee else {
            problems.push(Problem::SoftwareTeeMissing);
            return None;
        };
        match SoftwareGuest::open(&folder, kind, self.gpus, self.image) {
            Ok(guest) => Some(EvidenceSource::Software(Box::new(guest))),
            Err(error) => {
                problems.push(Problem::SoftwareTee(error));
                None
            }
        }
    }

    #[cfg(not(feature = "soft-tee"))]
    fn software(self, problems: &mut Vec<Problem>) -> Option<EvidenceSource> {
        problems.push(Problem::EvidenceKind(self.kind));
        None
    }
}

fn or(named: Option<&PathBuf>, usual: &str) -> PathBuf {
    named.cloned().unwrap_or_else(|| PathBuf::from(usual))
}
