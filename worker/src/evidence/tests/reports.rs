//! The kernel's folder of reports, played by the software TEE: all but the kernel is the real thing.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cocoon_attest::evidence::{Kind, SnpEndorsements};
use cocoon_attest::softtee::{SoftTee, snp_key};
use cocoon_primitives::Timestamp;

use super::super::nvidia::NvidiaGpus;
use super::super::snp::{SnpError, SnpGuest, vcek_of};
use super::super::tdx::{TdxError, TdxGuest};
use super::super::tsm::TsmError;
use super::*;

const DATA: [u8; 64] = [5; 64];

fn now() -> Timestamp {
    Timestamp::from_seconds(1_790_000_000)
}

struct Machine {
    folder: tempfile::TempDir,
    report: PathBuf,
}

impl Machine {
    fn new(provider: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("reports/cocoon-worker");
        fs::create_dir_all(&report).unwrap();
        fs::write(report.join("provider"), format!("{provider}\n")).unwrap();
        fs::write(report.join("generation"), "6\n").unwrap();
        fs::write(report.join("auxblob"), "").unwrap();
        pipe(&report.join("inblob"));
        pipe(&report.join("outblob"));
        Self { folder, report }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn gpus(&self) -> NvidiaGpus {
        NvidiaGpus::new(0, self.folder.path().to_owned())
    }

    fn tdx(&self) -> TdxGuest {
        let collateral = self.file("collateral.json", b"{}");
        let measurements = self.folder.path().to_owned();
        TdxGuest::new(self.folder.path().join("reports"), measurements, collateral, self.gpus())
    }

    /// Answers one question, as a kernel would.
    fn answer(&self, quote: impl FnOnce([u8; 64]) -> Vec<u8>) {
        self.answer_counted(1, quote);
    }

    /// The same while `writes` questions were asked, ours and others'.
    fn answer_counted(&self, writes: u64, quote: impl FnOnce([u8; 64]) -> Vec<u8>) {
        let asked = fs::read(self.report.join("inblob")).unwrap();
        let generation = fs::read_to_string(self.report.join("generation")).unwrap();
        let generation = generation.trim().parse::<u64>().unwrap() + writes;
        fs::write(self.report.join("generation"), format!("{generation}\n")).unwrap();
        let out = fs::OpenOptions::new().write(true).open(self.report.join("outblob"));
        let mut out = out.unwrap();
        // A caller that has read enough leaves before the end.
        drop(out.write_all(&quote(asked.try_into().unwrap())));
    }
}

fn soft_tee() -> SoftTee {
    SoftTee::from_seed(&[1; 32])
}

fn quote(report_data: [u8; 64]) -> Vec<u8> {
    soft_tee().tdx(report_data, &log(), "image", now()).quote
}

/// Runs a guest beside its kernel.
fn beside<T>(kernel: impl FnOnce() + Send, guest: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let kernel = scope.spawn(kernel);
        let outcome = guest();
        kernel.join().unwrap();
        outcome
    })
}

#[test]
fn a_tdx_guest_brings_quote_collateral_and_log() {
    let machine = Machine::new("tdx_guest");
    let guest = machine.tdx();
    let evidence = beside(|| machine.answer(quote), || guest.evidence(&DATA, &log())).unwrap();
    assert_eq!(evidence.kind, Kind::Tdx);
    assert_eq!((evidence.quote, evidence.endorsements), (quote(DATA), b"{}".to_vec()));
    assert_eq!(evidence.event_log, log().encode());
}

#[test]
fn a_question_of_somebody_else_in_between_is_noticed_and_asked_again() {
    let machine = Machine::new("tdx_guest");
    let guest = machine.tdx();
    let kernel = || {
        machine.answer_counted(2, quote);
        machine.answer(quote);
    };
    let evidence = beside(kernel, || guest.evidence(&DATA, &log())).unwrap();
    assert_eq!(evidence.quote, quote(DATA));

    let always = || (0..8).for_each(|_| machine.answer_counted(2, quote));
    let refused = beside(always, || guest.evidence(&DATA, &log()));
    assert!(matches!(refused, Err(TdxError::Quote(TsmError::Busy))));
}

#[test]
fn what_is_not_the_asked_quote_is_refused() {
    let machine = Machine::new("tdx_guest");
    let guest = machine.tdx();
    for other in [quote([6; 64]), vec![4, 0], vec![9; 1000], Vec::new()] {
        let refused = beside(|| machine.answer(|_| other), || guest.evidence(&DATA, &log()));
        assert!(matches!(refused, Err(TdxError::OtherData)));
    }
    let long = beside(|| machine.answer(|_| vec![0; 17_000]), || guest.evidence(&DATA, &log()));
    assert!(matches!(long, Err(TdxError::Quote(TsmError::Content { .. }))));

    fs::write(machine.report.join("generation"), "many").unwrap();
    let refused = guest.evidence(&DATA, &log());
    assert!(matches!(refused, Err(TdxError::Quote(TsmError::Content { .. }))));
    fs::write(machine.report.join("provider"), "sev_guest").unwrap();
    let refused = guest.evidence(&DATA, &log());
    assert!(matches!(refused, Err(TdxError::Quote(TsmError::Provider { .. }))));
    fs::remove_file(machine.folder.path().join("collateral.json")).unwrap();
    assert!(matches!(guest.evidence(&DATA, &log()), Err(TdxError::Collateral(_))));
}

#[test]
fn a_machine_without_the_kernels_folder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let collateral = folder.path().join("c");
    fs::write(&collateral, "{}").unwrap();
    let gpus = NvidiaGpus::new(0, folder.path().to_owned());
    let guest =
        TdxGuest::new(Path::new("/nowhere").join("x"), folder.path().into(), collateral, gpus);
    let refused = guest.evidence(&DATA, &log());
    assert!(matches!(refused, Err(TdxError::Quote(TsmError::File { .. }))));
}

fn table(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
    let mut at = (entries.len() + 1) * 24;
    let (mut head, mut body) = (Vec::new(), Vec::new());
    for (guid, bytes) in entries {
        head.extend_from_slice(guid);
        head.extend_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
        head.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        body.extend_from_slice(bytes);
        at += bytes.len();
    }
    head.extend_from_slice(&[0; 24]);
    [head, body].concat()
}

const VCEK_GUID: u128 = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd;

#[test]
fn the_hosts_table_is_read_within_its_bounds() {
    let guid = VCEK_GUID.to_be_bytes();
    let good = table(&[([1; 16], b"ask"), (guid, b"vcek")]);
    assert_eq!(vcek_of(&good), Some(&b"vcek"[..]));
    for cut in 0..good.len() {
        assert_eq!(vcek_of(&good[..cut]), None, "{cut}");
    }
    assert_eq!(vcek_of(&table(&[([1; 16], b"ask")])), None);
    assert_eq!(vcek_of(&table(&[(guid, b"")])), None);
    let mut far = good.clone();
    far[40..48].copy_from_slice(&[0xff; 8]);
    assert_eq!(vcek_of(&far), None);
}

proptest::proptest! {
    #[test]
    fn no_table_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = vcek_of(&bytes);
        let _ = vcek_of(&[&VCEK_GUID.to_be_bytes()[..], &bytes].concat());
    }
}

#[test]
fn an_snp_guest_brings_report_and_certificates() {
    let tee = SoftTee::from_seed(&[1; 32]).with_snp_key(&snp_key(&[2; 32])).unwrap();
    let of = |data| tee.snp(data, &log(), "image", now()).unwrap();
    let report = |data| of(data).quote;
    let SnpEndorsements { vcek, crl } = SnpEndorsements::decode(&of(DATA).endorsements).unwrap();

    let machine = Machine::new("sev_guest");
    let aux = table(&[(VCEK_GUID.to_be_bytes(), &vcek)]);
    fs::write(machine.report.join("auxblob"), aux).unwrap();
    let guest =
        |vcek, crl| SnpGuest::new(machine.folder.path().join("reports"), vcek, crl, machine.gpus());
    let by_host = guest(None, Some(machine.file("crl.der", &crl)));
    let evidence = beside(|| machine.answer(report), || by_host.evidence(&DATA, &log())).unwrap();
    assert_eq!((evidence.kind, &evidence.quote), (Kind::Snp, &report(DATA)));
    assert_eq!(evidence.endorsements, SnpEndorsements { vcek: vcek.clone(), crl }.encode());

    fs::remove_file(machine.report.join("auxblob")).unwrap();
    let refused = beside(|| machine.answer(report), || by_host.evidence(&DATA, &log()));
    assert!(matches!(refused, Err(SnpError::NoVcek)));
    let by_file = guest(Some(machine.file("vcek.der", &vcek)), None);
    let evidence = beside(|| machine.answer(report), || by_file.evidence(&DATA, &log())).unwrap();
    assert_eq!(evidence.endorsements, SnpEndorsements { vcek, crl: Vec::new() }.encode());

    // Launched for other models.
    let other = EventLog::of_worker(&[[3; 32]], NO_GPUS).unwrap();
    let refused = beside(|| machine.answer(report), || by_file.evidence(&DATA, &other));
    assert!(matches!(refused, Err(SnpError::HostData { .. })));
    let refused = beside(|| machine.answer(|_| vec![0; 1184]), || by_file.evidence(&DATA, &log()));
    assert!(matches!(refused, Err(SnpError::OtherData)));
}
