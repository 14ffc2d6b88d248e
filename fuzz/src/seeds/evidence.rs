//! Evidence of a software TEE, and what is made on the way to a lease.

use cocoon_attest::enrol::{Challenge, Claim, OpenChallenge, Workload, WorkloadModel};
use cocoon_attest::evidence::{Evidence, SnpEndorsements};
use cocoon_attest::log::{Entry, Record};
use cocoon_attest::receipt::ReceiptKey;
use cocoon_attest::softtee::Lab;
use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};
use cocoon_primitives::{Digest, ModelKind, WalletAddress};

use crate::targets::{AT, COLLATERAL};

/// One for all runs.
pub(crate) fn lab() -> Lab {
    Lab::new([1; 32]).with_gpus(1)
}

pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let log = EventLog::of_worker(
        &[[1; 32], [2; 32]],
        GpuPolicy { gpu_count: 1, cc_on: true, devtools: false },
    )
    .expect("a log of two models");
    let policy = lab().policy_toml_for_any_model();
    let entry = Entry { at: AT, record: Record::Policy { policy: b"schema = 1\n".to_vec() } };
    let mut seeds = vec![
        ("event_log", log.encode()),
        ("cbor", log.encode()),
        ("policy", policy.into_bytes()),
        ("log_entry", entry.encode()),
    ];
    seeds.extend(tdx(&log));
    seeds.extend(snp(&log));
    seeds.extend(gpu());
    seeds.extend(enrolment());
    seeds
}

fn tdx(log: &EventLog) -> Vec<(&'static str, Vec<u8>)> {
    let Evidence { quote, endorsements, .. } = lab().evidence([9; 64], log, AT);
    let short = short(&quote);
    let framed = framed(&[&short, COLLATERAL.as_bytes()]);
    vec![
        ("tdx_quote", short),
        ("tdx_quote", quote),
        ("tdx_collateral", framed),
        ("tdx_collateral", endorsements),
    ]
}

/// A quote with the first bytes of its chain only: all that comes before the chain is judged still holds.
fn short(quote: &[u8]) -> Vec<u8> {
    const KEPT: usize = 900;
    /// Behind header and body: the lengths of all, of the certification data, and the enclave's own bytes.
    const ALL: usize = 48 + 584;
    const CERTIFICATION: usize = ALL + 4 + 64 + 64 + 2;
    const OWN: usize = CERTIFICATION + 4 + 384 + 64;
    let mut quote = quote.to_vec();
    let own = usize::from(u16::from_le_bytes([quote[OWN], quote[OWN + 1]]));
    let chain = OWN + 2 + own + 2;
    quote.truncate(chain + 4 + KEPT);
    for at in [ALL, CERTIFICATION, chain] {
        let length = u32::try_from(quote.len() - at - 4).expect("a quote is short");
        quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    quote
}

fn snp(log: &EventLog) -> Vec<(&'static str, Vec<u8>)> {
    let lab = Lab::new([1; 32]).with_snp([2; 32]);
    let Evidence { quote, endorsements, .. } = lab.evidence([9; 64], log, AT);
    let parts = SnpEndorsements::decode(&endorsements).expect("they were just written");
    vec![
        ("snp_report", framed(&[&parts.vcek, &parts.crl, &quote])),
        ("snp_certificate", framed(&[&parts.crl, &parts.vcek])),
        ("snp_certificate", parts.vcek),
        ("snp_endorsements", endorsements),
    ]
}

fn gpu() -> Vec<(&'static str, Vec<u8>)> {
    let devices = lab().devices([3; 32], AT);
    let device = devices.first().expect("the lab has one GPU");
    let text = String::from_utf8(device.chain.clone()).expect("PEM is text");
    // Two certificates are the shortest chain.
    let short: String = text.split_inclusive("-----END CERTIFICATE-----\n").take(2).collect();
    vec![
        ("nvidia_chain", short.into_bytes()),
        ("nvidia_report", framed(&[&device.chain, &device.report])),
        ("nvidia_report", framed(&[&[], &device.report])),
        ("nvidia_chain", device.chain.clone()),
    ]
}

fn enrolment() -> Vec<(&'static str, Vec<u8>)> {
    let lab = lab();
    let policy = lab.policy_for_any_model();
    let open = OpenChallenge::issue(&[4; 48], Digest::from_bytes([3; 32]), &policy, AT);
    let challenge = Challenge::decode(&open.message()).expect("it was just written");
    let workload = Workload {
        image: lab.image().to_owned(),
        models: vec![WorkloadModel {
            name: "model".parse().expect("a name"),
            kind: ModelKind::Chat,
            manifest_digest: Digest::from_bytes([1; 32]),
            context_length: 512,
            engine: "engine".to_owned(),
            is_demo: true,
            owned_by: "nobody".to_owned(),
        }],
        gpu_count: 1,
        cc_on: true,
        devtools: false,
    };
    let receipt_key = ReceiptKey::from_seed(&[11; 32]);
    let claim = Claim {
        exporter: &[7; 32],
        tls_spki: b"a key",
        receipt_key: &receipt_key,
        hpke_key: [8; 32],
        payee: WalletAddress::new(0, [5; 32]),
        workload: &workload,
    };
    let message = lab.answer(&challenge, &claim, AT);
    vec![
        ("challenge", open.message()),
        ("enrolment", short_message(&challenge, &claim)),
        ("enrolment", message),
    ]
}

/// A message without devices, with a quote and collateral that are cut to what is judged first.
fn short_message(challenge: &Challenge, claim: &Claim<'_>) -> Vec<u8> {
    let prepared = challenge.prepare(claim, &[]);
    let gpus = GpuPolicy { gpu_count: 1, cc_on: true, devtools: false };
    let log = EventLog::of_worker(&[[1; 32]], gpus).expect("a log of one model");
    let evidence = lab().evidence(prepared.report_data(), &log, AT);
    let quote = short(&evidence.quote);
    prepared.finish(Evidence { quote, endorsements: COLLATERAL.into(), ..evidence })
}

/// The frame of targets that take several parts.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        if place + 1 < parts.len() {
            let length = u16::try_from(part.len()).expect("a part of a seed is short");
            out.extend(length.to_be_bytes());
        }
        out.extend_from_slice(part);
    }
    out
}
