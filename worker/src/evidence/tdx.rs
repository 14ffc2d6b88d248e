//! A guest under Intel TDX.

use std::path::PathBuf;

use cocoon_attest::evidence::{ENDORSEMENTS_BYTES_MAX, Evidence, Kind};
use cocoon_attest::verify::event_log::EventLog;

use super::bounded::{self, FileError};
use super::nvidia::NvidiaGpus;
use super::rtmr::{self, RegisterError};
use super::tsm::{TsmError, TsmReports};

/// The kernel module that makes the quotes.
const PROVIDER: &str = "tdx_guest";

/// Where the report data stands in a quote of version 4: a header of 48 bytes, then 520 of the body.
const REPORT_DATA_V4: usize = 48 + 520;
/// Version 5 has a descriptor of 6 bytes before the body.
const REPORT_DATA_V5: usize = REPORT_DATA_V4 + 6;

/// Why a TDX guest gave no evidence.
#[derive(Debug, thiserror::Error)]
pub enum TdxError {
    #[error("the kernel gives no quote")]
    Quote(#[source] TsmError),
    #[error("the quote is over other data than was asked for")]
    OtherData,
    #[error("the event log is not in the register")]
    Register(#[from] RegisterError),
    #[error("evidence.tdx_collateral is not usable")]
    Collateral(#[source] FileError),
}

/// A TDX guest: where its kernel answers, and where its collateral lies.
#[derive(Debug)]
pub struct TdxGuest {
    reports: TsmReports,
    measurements: PathBuf,
    collateral: PathBuf,
    pub(super) gpus: NvidiaGpus,
}

impl TdxGuest {
    /// `reports` is the kernel's folder of reports, `measurements` that of registers, `collateral` a
    /// file with what Intel publishes about this platform, in JSON.
    pub fn new(
        reports: PathBuf,
        measurements: PathBuf,
        collateral: PathBuf,
        gpus: NvidiaGpus,
    ) -> Self {
        Self { reports: TsmReports::new(reports), measurements, collateral, gpus }
    }

    pub(super) fn measure(&self, log: &EventLog) -> Result<(), TdxError> {
        Ok(rtmr::measure(&self.measurements, log)?)
    }

    pub(super) fn evidence(
        &self,
        report_data: &[u8; 64],
        log: &EventLog,
    ) -> Result<Evidence, TdxError> {
        let endorsements = bounded::read(&self.collateral, ENDORSEMENTS_BYTES_MAX);
        let endorsements = endorsements.map_err(TdxError::Collateral)?;
        let quote = self.reports.report(PROVIDER, report_data).map_err(TdxError::Quote)?.out;
        if !is_over(&quote, report_data) {
            return Err(TdxError::OtherData);
        }
        Ok(Evidence { kind: Kind::Tdx, quote, endorsements, event_log: log.encode() })
    }
}

/// Whether a quote carries this report data; no more than that is looked at here.
fn is_over(quote: &[u8], report_data: &[u8; 64]) -> bool {
    let at = match quote.first_chunk() {
        Some([4, 0]) => REPORT_DATA_V4,
        Some([5, 0]) => REPORT_DATA_V5,
        _ => return false,
    };
    quote.get(at..at + 64) == Some(report_data)
}
