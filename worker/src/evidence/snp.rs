//! A guest under AMD SEV-SNP.

use std::path::PathBuf;

use cocoon_attest::evidence::{ENDORSEMENTS_BYTES_MAX, Evidence, Kind, SnpEndorsements};
use cocoon_attest::verify::event_log::EventLog;

use super::bounded::{self, FileError};
use super::nvidia::NvidiaGpus;
use super::tsm::{TsmError, TsmReports};

/// The kernel module that makes the reports.
const PROVIDER: &str = "sev_guest";

const REPORT_DATA: std::ops::Range<usize> = 0x50..0x90;
const HOST_DATA: std::ops::Range<usize> = 0xC0..0xE0;

/// In the host's table of certificates: 16 bytes of GUID, offset and length as u32le. A GUID of
/// zeros ends it.
const ENTRY_BYTES: usize = 24;
const ENTRIES_MAX: usize = 64;
/// 63da758d-e664-4564-adc5-f4b93be8accd, in both orders in which tables are found to have it.
const VCEK: [[u8; 16]; 2] = [
    [
        0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
        0xcd,
    ],
    [
        0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
        0xcd,
    ],
];

/// Why an SEV-SNP guest gave no evidence.
#[derive(Debug, thiserror::Error)]
pub enum SnpError {
    #[error("the kernel gives no report")]
    Report(#[source] TsmError),
    #[error("the report is over other data than was asked for")]
    OtherData,
    #[error(
        "the machine was launched with another HOST_DATA than this worker's models and GPUs have: \
         it must be {expected}"
    )]
    HostData { expected: String },
    #[error("evidence.snp_vcek is not usable")]
    Vcek(#[source] FileError),
    #[error("the host gave no certificate of this chip: name one as evidence.snp_vcek")]
    NoVcek,
    #[error("evidence.snp_crl is not usable")]
    Crl(#[source] FileError),
}

/// An SEV-SNP guest: where its kernel answers, and where AMD's files lie.
#[derive(Debug)]
pub struct SnpGuest {
    reports: TsmReports,
    vcek: Option<PathBuf>,
    crl: Option<PathBuf>,
    pub(super) gpus: NvidiaGpus,
}

impl SnpGuest {
    /// `reports` is the kernel's folder of reports. Without `vcek` the host's table of certificates
    /// has to have it.
    pub fn new(
        reports: PathBuf,
        vcek: Option<PathBuf>,
        crl: Option<PathBuf>,
        gpus: NvidiaGpus,
    ) -> Self {
        Self { reports: TsmReports::new(reports), vcek, crl, gpus }
    }

    pub(super) fn evidence(
        &self,
        report_data: &[u8; 64],
        log: &EventLog,
    ) -> Result<Evidence, SnpError> {
        let report = self.reports.report(PROVIDER, report_data).map_err(SnpError::Report)?;
        let quote = report.out;
        if quote.get(REPORT_DATA) != Some(report_data) {
            return Err(SnpError::OtherData);
        }
        let expected = log.host_data();
        if quote.get(HOST_DATA) != Some(&expected) {
            return Err(SnpError::HostData { expected: hex::encode(expected) });
        }
        let vcek = match &self.vcek {
            Some(path) => bounded::read(path, ENDORSEMENTS_BYTES_MAX).map_err(SnpError::Vcek)?,
            None => vcek_of(&report.aux).ok_or(SnpError::NoVcek)?.to_vec(),
        };
        let crl = match &self.crl {
            Some(path) => bounded::read(path, ENDORSEMENTS_BYTES_MAX).map_err(SnpError::Crl)?,
            None => Vec::new(),
        };
        let endorsements = SnpEndorsements { vcek, crl }.encode();
        Ok(Evidence { kind: Kind::Snp, quote, endorsements, event_log: log.encode() })
    }
}

/// The chip's certificate in the host's table.
pub(super) fn vcek_of(table: &[u8]) -> Option<&[u8]> {
    let entries = table.chunks_exact(ENTRY_BYTES).take(ENTRIES_MAX);
    for entry in entries {
        let (guid, rest) = entry.split_first_chunk::<16>()?;
        let (offset, rest) = rest.split_first_chunk::<4>()?;
        let length = rest.first_chunk::<4>()?;
        if *guid == [0; 16] {
            return None;
        }
        if VCEK.contains(guid) {
            let at = usize::try_from(u32::from_le_bytes(*offset)).ok()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            return table.get(at..at.checked_add(length)?).filter(|found| !found.is_empty());
        }
    }
    None
}
