//! `costs`: what attestation and sealing cost, in processor time of one thread.
//!
//! Evidence comes from the software TEE, which has the vendors' formats, signatures and sizes; the
//! verifiers are the ones that judge hardware. Nothing goes over a network.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use cocoon_attest::enrol::{Challenge, Claim, OpenChallenge, Presented, Workload, WorkloadModel};
use cocoon_attest::policy::Policy;
use cocoon_attest::receipt::ReceiptKey;
use cocoon_attest::renewal::{self, Held, LightChallenge};
use cocoon_attest::softtee::Lab;
use cocoon_primitives::{
    Digest, LeaseId, ModelKind, ModelName, RequestId, Timestamp, WalletAddress, WorkerId,
};
use cocoon_seal::{
    AnswerHead, AnswerKeys, AnswerSecret, FrameKind, Head, KeyPair, Recipient, SealRandom,
};
use tokio::time::Instant;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const EXPORTER: [u8; 32] = [2; 32];
const SPKI: &[u8] = b"a worker's key as SubjectPublicKeyInfo";
/// As a chat request with a history has.
const BODY_BYTES: usize = 4096;
const FRAMES: usize = 1000;
/// As a chunk of a stream has, padding included.
const CHUNK_BYTES: usize = 220;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds of each measurement; the median is shown
    #[arg(long, default_value_t = 50)]
    rounds: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let rounds = options.rounds.max(1);
    println!("| what | median of {rounds} |\n|---|---|");
    let tdx = || Lab::new([7; 32]);
    for (what, lab) in [
        ("one full enrolment, TDX", tdx()),
        ("the same with one GPU", tdx().with_gpus(1)),
        ("the same with eight GPUs", tdx().with_gpus(8)),
        ("one full enrolment, SEV-SNP", Lab::new([7; 32]).with_snp([8; 32])),
    ] {
        row(what, enrolment(&lab, rounds)?);
    }
    let (light, again) = renewals(&tdx().with_gpus(1), rounds)?;
    row("one light renewal", light);
    row("judging one live worker by a new policy", again);
    for recipients in [1, 4] {
        let (sealing, opening) = requests(recipients, rounds)?;
        row(&format!("sealing a 4 KiB request to {recipients}"), sealing);
        row("opening it", opening);
    }
    let (sealing, opening) = streams(rounds)?;
    row("sealing a stream of 1,000 frames", sealing);
    row("opening it", opening);
    Ok(ExitCode::SUCCESS)
}

fn row(what: &str, took: Duration) {
    let nanos = took.as_nanos();
    println!("| {what} | {}.{} µs |", nanos / 1000, nanos / 100 % 10);
}

/// The median over rounds of what `measure` says that one took.
fn median(
    rounds: u32,
    mut measure: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Duration> {
    let mut times = (0..rounds).map(|_| measure()).collect::<anyhow::Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// One worker of a lab.
struct Worker {
    key: ReceiptKey,
    workload: Workload,
}

impl Worker {
    fn new(gpus: u32) -> Self {
        let model = WorkloadModel {
            name: model(),
            kind: ModelKind::Chat,
            manifest_digest: Digest::from_bytes([4; 32]),
            context_length: 4096,
            engine: "mistralrs".to_owned(),
            is_demo: true,
            owned_by: "nobody".to_owned(),
        };
        let workload = Workload {
            image: "lab".to_owned(),
            models: vec![model],
            gpu_count: gpus,
            cc_on: gpus > 0,
            devtools: false,
        };
        Self { key: ReceiptKey::from_seed(&[5; 32]), workload }
    }

    /// A challenge, and this worker's answer to it.
    fn answer(&self, lab: &Lab, policy: &Policy) -> anyhow::Result<(OpenChallenge, Vec<u8>)> {
        let open = OpenChallenge::issue(&[9; 48], Digest::from_bytes([1; 32]), policy, NOW);
        let challenge = Challenge::decode(&open.message())?;
        let claim = Claim {
            exporter: &EXPORTER,
            tls_spki: SPKI,
            receipt_key: &self.key,
            hpke_key: [6; 32],
            payee: WalletAddress::new(0, [3; 32]),
            workload: &self.workload,
        };
        Ok((open, lab.answer(&challenge, &claim, NOW)))
    }
}

fn model() -> ModelName {
    "tiny-demo".parse().expect("a model's name")
}

fn presented(evidence: &[u8]) -> Presented<'_> {
    let lease_id = LeaseId::from_bytes([8; 16]);
    Presented { evidence, exporter: &EXPORTER, peer_spki: SPKI, lease_id }
}

/// What the gateway does with one evidence message.
fn enrolment(lab: &Lab, rounds: u32) -> anyhow::Result<Duration> {
    let policy = lab.policy_for_any_model();
    let gpus = lab.devices([0; 32], NOW).len();
    let worker = Worker::new(u32::try_from(gpus)?);
    median(rounds, || {
        let (open, evidence) = worker.answer(lab, &policy)?;
        let from = Instant::now();
        black_box(open.verify(&presented(&evidence), &policy, NOW)?);
        Ok(from.elapsed())
    })
}

/// A light renewal, both signatures; and what a change of policy costs for each worker.
fn renewals(lab: &Lab, rounds: u32) -> anyhow::Result<(Duration, Duration)> {
    let policy = lab.policy_for_any_model();
    let worker = Worker::new(1);
    let (open, evidence) = worker.answer(lab, &policy)?;
    let (lease, appraised) = open.verify(&presented(&evidence), &policy, NOW)?.into_parts();
    let light = median(rounds, || {
        let challenge = LightChallenge::issue([3; 32]);
        let from = Instant::now();
        let signature = renewal::answer(&worker.key, challenge.nonce(), &EXPORTER, lease.lease_id);
        let held = Held { lease: &lease, appraised: &appraised, exporter: &EXPORTER };
        black_box(challenge.verify(&held, &signature, &policy, NOW)?);
        Ok(from.elapsed())
    })?;
    let again = median(rounds, || {
        let from = Instant::now();
        black_box(policy.admit(&appraised, NOW)?);
        Ok(from.elapsed())
    })?;
    Ok((light, again))
}

/// A request, its worker's key, and what both sides keep of it.
struct Sealed {
    sealing: Duration,
    opening: Duration,
    client: AnswerKeys,
    worker: AnswerSecret,
}

fn sealed(recipients: u8) -> anyhow::Result<Sealed> {
    let keys: Vec<KeyPair> = (1..=recipients).map(|seed| KeyPair::from_seed(&[seed; 32])).collect();
    let digest = Digest::from_bytes([1; 32]);
    let to: Vec<Recipient> = (1..=recipients)
        .zip(&keys)
        .map(|(seed, key)| Recipient {
            worker_id: WorkerId::from_bytes([seed; 32]),
            key: key.public(),
            evidence_digest: digest,
        })
        .collect();
    let head = Head {
        path: "/v1/chat/completions".to_owned(),
        request_id: RequestId::from_bytes([1; 16]),
        model: model(),
        is_stream: true,
        max_prompt_tokens: 4096,
        max_tokens: 1024,
        max_price: [1, 1, 1],
        not_after: NOW,
        pay_commit: [2; 32],
    };
    let body = vec![b'x'; BODY_BYTES];
    let random = SealRandom { cek: [1; 32], ephemeral: [[2; 32], [3; 32], [4; 32], [5; 32]] };
    let from = Instant::now();
    let (seal_keys, bytes, client) = cocoon_seal::seal(&head, &body, &to, &random)?;
    let sealing = from.elapsed();
    let from = Instant::now();
    let (worker_id, key) = (to[0].worker_id, &keys[0]);
    let opened = cocoon_seal::open(&head, &seal_keys, worker_id, digest, key, &bytes)?;
    Ok(Sealed { sealing, opening: from.elapsed(), client, worker: opened.answer })
}

fn requests(recipients: u8, rounds: u32) -> anyhow::Result<(Duration, Duration)> {
    let sealing = median(rounds, || Ok(sealed(recipients)?.sealing))?;
    Ok((sealing, median(rounds, || Ok(sealed(recipients)?.opening))?))
}

fn streams(rounds: u32) -> anyhow::Result<(Duration, Duration)> {
    let Sealed { client, worker, .. } = sealed(1)?;
    let head = AnswerHead {
        status: 200,
        content_type: "text/event-stream; charset=utf-8".to_owned(),
        dropped_tools: None,
    };
    let (head, chunk) = (head.to_json(), vec![b'x'; CHUNK_BYTES]);
    let (mut sealings, mut openings) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let from = Instant::now();
        let mut sealer = worker.sealer([7; 32]);
        let mut wire = sealer.frame(FrameKind::Head, &head, false)?;
        for number in 1..=FRAMES {
            wire.extend(sealer.frame(FrameKind::Data, &chunk, number == FRAMES)?);
        }
        sealings.push(from.elapsed());
        let from = Instant::now();
        let mut opener = client.opener();
        opener.push(&wire);
        let mut frames = 0;
        while black_box(opener.next_frame()?).is_some() {
            frames += 1;
        }
        opener.finish()?;
        openings.push(from.elapsed());
        anyhow::ensure!(frames == FRAMES + 1, "{frames} frames were opened");
    }
    sealings.sort_unstable();
    openings.sort_unstable();
    Ok((sealings[sealings.len() / 2], openings[openings.len() / 2]))
}
