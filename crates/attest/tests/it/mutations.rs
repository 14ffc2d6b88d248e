//! One byte of evidence becomes another: it is refused, or it says the same and nothing there is signed.
//!
//! Mutations act on decoded evidence: a quote's bytes, a report's, the DER of each certificate, the text of
//! collateral. The short form tries every byte of one quote and a thousand others; every byte of one
//! report of each other kind is tried beside its verifier. With `COCOON_LONG` set every byte of
//! every sample is tried (`cargo xtask long mutations`).

use cocoon_attest::verify::tdx::Collateral;
use cocoon_attest::verify::{nvidia, snp, tdx};
use cocoon_primitives::Timestamp;

use crate::evidence::{Mutations, day, sample};

/// The claims, as text, of what is accepted.
type Judge = Box<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// Some evidence, and where a byte of it may change without a claim changing.
struct Subject {
    name: String,
    bytes: Vec<u8>,
    judge: Judge,
    /// Why nothing at this offset is signed or read.
    unsigned: fn(&[u8], usize) -> Option<&'static str>,
}

fn is_long() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test's length is no setting of a program")]
    std::env::var_os("COCOON_LONG").is_some()
}

/// Which offsets were accepted after a change that `unsigned` does not explain, or with other claims.
fn breaks(subject: &Subject, offsets: &[usize], seed: u64) -> Vec<String> {
    let honest = (subject.judge)(&subject.bytes);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = offsets.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let work = |(number, offsets): (u64, &'_ [usize])| {
            let mut mutations = Mutations::seeded(seed ^ number << 32);
            let mut found = Vec::new();
            for &offset in offsets {
                let said = (subject.judge)(&mutations.at(&subject.bytes, offset));
                let is_other = said.is_some() && said != honest;
                let unexplained =
                    said.is_some() && (subject.unsigned)(&subject.bytes, offset).is_none();
                if is_other || unexplained {
                    found
                        .push(format!("{}: byte {offset}, other claims: {is_other}", subject.name));
                }
            }
            found
        };
        let parts = (0..).zip(offsets.chunks(share));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("a verifier never panics"))
            .collect()
    })
}

fn no_breaks(subject: &Subject, offsets: &[usize], seed: u64) {
    let found = breaks(subject, offsets, seed);
    assert!(found.is_empty(), "{} breaks: {:#?}", found.len(), &found[..found.len().min(20)]);
}

// === Intel TDX ===

const QUOTES: [(&str, &str, &str); 5] = [
    ("cocoon_quote.dat", "tdx_quote_outdated_collateral.json", "2026-03-01"),
    ("tdx_quote", "tdx_quote_collateral.json", "2025-06-20"),
    ("tdx_quote_td15ex", "tdx_quote_td15ex_collateral.json", "2026-10-10"),
    ("gtg_quote_v5_sample.dat", "tdx_quote_outdated_collateral.json", "2026-03-01"),
    ("fb_dcap-tdx-1766059550570652607", "fb_dcap-quote-collateral-00.json", "2026-02-01"),
];

fn accepted_quote(quote: &[u8], collateral: &Collateral, at: Timestamp) -> Option<String> {
    let verdict = tdx::appraise(quote, collateral, None, at).ok()?;
    verdict.accepted().map(|claims| serde_json::to_string(claims).expect("claims have a JSON form"))
}

fn quote((quote, collateral, date): (&str, &str, &str)) -> Option<Subject> {
    let bytes = sample("tdx", quote)?;
    let collateral = Collateral::parse(&sample("tdx", collateral)?).expect("a collateral file");
    let at = day(date);
    let judge: Judge = Box::new(move |bytes| accepted_quote(bytes, &collateral, at));
    assert!(judge(&bytes).is_some(), "{quote}");
    Some(Subject { name: quote.to_owned(), bytes, judge, unsigned: unsigned_of_quote })
}

/// Every byte of all five quotes was tried: these places are all there are.
fn unsigned_of_quote(quote: &[u8], offset: usize) -> Option<&'static str> {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let begins = find_all(quote, b"-----BEGIN CERTIFICATE-----");
    let ends = find_all(quote, END);
    let ([platform, _, root], [.., end]) = (&begins[..], &ends[..]) else {
        panic!("a chain of three certificates");
    };
    if (*root..end + END.len()).contains(&offset) {
        return Some("the root that the quote carries: the verifier takes its own");
    }
    (offset >= *platform && matches!(quote[offset], b'\n' | b'\r' | 0))
        .then_some("white space of PEM, or the zero that ends the chain's text")
}

fn find_all(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    (0..haystack.len()).filter(|at| haystack[*at..].starts_with(needle)).collect()
}

fn collateral((quote, collateral, date): (&str, &str, &str)) -> Option<Subject> {
    let quote = sample("tdx", quote)?;
    let bytes = sample("tdx", collateral)?;
    let at = day(date);
    let judge: Judge =
        Box::new(move |json| accepted_quote(&quote, &Collateral::parse(json).ok()?, at));
    let name = collateral.to_owned();
    Some(Subject { name, bytes, judge, unsigned: unsigned_of_collateral })
}

/// The frame of the file: the parts inside it are signed, its own text is not.
fn unsigned_of_collateral(json: &[u8], offset: usize) -> Option<&'static str> {
    let text = std::str::from_utf8(json).expect("JSON is text");
    let parts: serde_json::Value = serde_json::from_str(text).expect("a collateral file");
    let within = |name: &str| {
        let value = serde_json::to_string(&parts[name]).expect("it was read from JSON");
        let start = text.find(&value)?;
        Some((start, start + value.len())).filter(|(start, end)| (*start..*end).contains(&offset))
    };
    for name in ["root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"] {
        if within(name).is_some() {
            return json[offset].is_ascii_alphabetic().then_some("the case of a digit in hex");
        }
    }
    for name in ["tcb_info", "qe_identity"] {
        if within(name).is_some() {
            return None;
        }
    }
    if within("pck_crl_issuer_chain").is_some() {
        return Some("not read: the list is verified with the authority in the quote's own chain");
    }
    for name in ["tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
        if let Some((start, end)) = within(name) {
            let root = start + text[start..end].rfind("-----BEGIN").unwrap_or(0);
            let is_white = matches!(json[offset], b'\\' | b'n' | b'r' | b' ');
            return (offset >= root || is_white)
                .then_some("a root that the verifier does not take, or white space of PEM");
        }
    }
    Some("the file's own text, or a part of it that is not read")
}

// === AMD SEV-SNP and NVIDIA ===

const LATER: &str = "2026-10-10";

fn snp_report(report: &str, certificate: &str) -> Option<Subject> {
    let mut bytes = sample("snp", report)?;
    if report.ends_with(".hex") {
        bytes = hex::decode(bytes.trim_ascii()).expect("a file in hex");
    }
    let certificate = sample("snp", certificate)?;
    let judge: Judge = Box::new(move |bytes| {
        let verdict = snp::appraise(bytes, &certificate, None, day(LATER)).ok()?;
        verdict
            .accepted()
            .map(|claims| serde_json::to_string(claims).expect("claims have a JSON form"))
    });
    Some(Subject { name: report.to_owned(), bytes, judge, unsigned: |_, _| None })
}

fn snp_certificate(report: &str, certificate: &str) -> Option<Subject> {
    let report = sample("snp", report)?;
    let bytes = sample("snp", certificate)?;
    let judge: Judge = Box::new(move |bytes| {
        let verdict = snp::appraise(&report, bytes, None, day(LATER)).ok()?;
        verdict
            .accepted()
            .map(|claims| serde_json::to_string(claims).expect("claims have a JSON form"))
    });
    Some(Subject { name: certificate.to_owned(), bytes, judge, unsigned: |_, _| None })
}

fn accepted_device(report: &[u8], chain: &[u8]) -> Option<String> {
    let verdict = nvidia::appraise(report, chain, None, day(LATER)).ok()?;
    verdict.accepted().map(|claims| serde_json::to_string(claims).expect("claims have a JSON form"))
}

/// A device's report, and the DER of its certificates one behind the other.
fn device(name: &str, report: Vec<u8>, chain: &[u8]) -> [Subject; 2] {
    let ders: Vec<_> = x509_parser::pem::Pem::iter_from_buffer(chain)
        .map(|pem| pem.expect("certificates in PEM").contents)
        .collect();
    let lengths: Vec<_> = ders.iter().map(Vec::len).collect();
    let of_report: Judge = {
        let chain = chain.to_vec();
        Box::new(move |bytes| accepted_device(bytes, &chain))
    };
    let bytes = report.clone();
    let of_chain: Judge = Box::new(move |mut bytes| {
        let mut text = String::new();
        for length in &lengths {
            let (der, rest) = bytes.split_at(*length);
            text.push_str(&pem(der));
            bytes = rest;
        }
        accepted_device(&report, text.as_bytes())
    });
    let subject = |name, bytes, judge| Subject { name, bytes, judge, unsigned: |_, _| None };
    [
        subject(format!("{name}, the report"), bytes, of_report),
        subject(format!("{name}, the certificates"), ders.concat(), of_chain),
    ]
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn devices() -> Option<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (report, chain) in [
        ("hopperAttestationReport.txt", "hopperCertChain.txt"),
        ("hopperAttestationReportExpired.txt", "hopperCertChainExpired.txt"),
        ("hopperAttestationReportInvalidSignature.txt", "hopperCertChain.txt"),
        ("nvt_hopperAttestationReport.txt", "nvt_hopperCertChain.txt"),
        ("blackwellAttestationReport.txt", "blackwellCertChain.txt"),
        ("switchAttestationReport.txt", "switchCertChain.txt"),
    ] {
        let bytes = hex::decode(sample("nvidia", report)?.trim_ascii()).expect("a file in hex");
        subjects.extend(device(report, bytes, &sample("nvidia", chain)?));
    }
    for file in ["hopper_evidence.json", "multi_gpu_hopper.json"] {
        for found in nvidia::evidence::read(&sample("nvidia", file)?).expect("a file of devices") {
            subjects.extend(device(file, found.report, &found.chain));
        }
    }
    Some(subjects)
}

fn snp_subjects() -> Option<Vec<Subject>> {
    Some(vec![
        snp_report("ar_live-report-v5-genoa.bin", "ar_live-vcek-genoa.der")?,
        snp_certificate("ar_live-report-v5-genoa.bin", "ar_live-vcek-genoa.der")?,
        snp_report("report_milan.hex", "vcek_milan.der")?,
        snp_report("test-report.bin", "test-vcek.der")?,
        snp_report("test-vlek-report.bin", "test-vlek.der")?,
    ])
}

// === The tests ===

/// In two halves, which run beside each other.
fn half_of_a_quote(half: usize) {
    let Some(subject) = quote(QUOTES[0]) else { return };
    let middle = subject.bytes.len() / 2;
    let offsets: Vec<_> =
        if half == 0 { (0..middle).collect() } else { (middle..subject.bytes.len()).collect() };
    no_breaks(&subject, &offsets, 1);
}

#[test]
fn every_byte_of_a_quote_s_first_half() {
    half_of_a_quote(0);
}

#[test]
fn every_byte_of_a_quote_s_second_half() {
    half_of_a_quote(1);
}

fn others() -> Option<Vec<Subject>> {
    let quotes = QUOTES[1..].iter().map(|case| quote(*case));
    let mut subjects = quotes.collect::<Option<Vec<_>>>()?;
    subjects.extend([collateral(QUOTES[0])?, collateral(QUOTES[2])?]);
    subjects.extend(snp_subjects()?);
    subjects.extend(devices()?);
    Some(subjects)
}

#[test]
fn a_thousand_places_of_the_others() {
    let Some(subjects) = others() else { return };
    let mut mutations = Mutations::seeded(2);
    let share = 1000 / subjects.len() + 1;
    for (seed, subject) in (10..).zip(&subjects) {
        let offsets: Vec<_> = (0..share).map(|_| mutations.below(subject.bytes.len())).collect();
        no_breaks(subject, &offsets, seed);
    }
}

/// The long form; without `COCOON_LONG` it tries nothing.
#[test]
fn every_byte_of_every_sample() {
    if !is_long() {
        return;
    }
    let Some(subjects) = others() else { return };
    let mut found = Vec::new();
    let mut tried = 0;
    for (seed, subject) in (100..).zip(&subjects) {
        let offsets: Vec<_> = (0..subject.bytes.len()).collect();
        found.extend(breaks(subject, &offsets, seed));
        tried += offsets.len();
        eprintln!("{}: {} bytes, {} breaks so far", subject.name, offsets.len(), found.len());
    }
    assert!(found.is_empty(), "{} breaks in {tried}: {:#?}", found.len(), found);
}
