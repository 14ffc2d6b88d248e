//! The targets, in the order of the crates that they are of.

use std::sync::LazyLock;

use bytes::Bytes;
use cocoon_attest::cbor::Decoder;
use cocoon_attest::enrol::Challenge;
use cocoon_attest::evidence::SnpEndorsements;
use cocoon_attest::lease::Lease;
use cocoon_attest::log::{Entry, SignedHead, verify_consistency, verify_inclusion};
use cocoon_attest::policy::{Policy, SignatureFile};
use cocoon_attest::receipt::batch::Proof;
use cocoon_attest::receipt::{ReceiptCore, ReceiptFile, SignedReceipt, Terms, verify_file};
use cocoon_attest::verify::event_log::EventLog;
use cocoon_attest::verify::tdx::Collateral;
use cocoon_attest::verify::{SnpRoot, nvidia, snp, tdx};
use cocoon_engine_wire::{FromEngine, ToEngine};
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::{chat, completions, embeddings, peek, responses, sse};
use cocoon_primitives::{Digest, Timestamp, WorkerId};
use cocoon_seal::{Head, KeyPair, Recipient, SealKeys, SealRandom};
use cocoon_uplink_wire::enrol::{GatewayMessage, WorkerMessage};
use cocoon_uplink_wire::event::{GatewayEvent, WorkerEvent};
use cocoon_uplink_wire::message::{from_cbor, to_cbor};
use cocoon_uplink_wire::renew::{RenewalAnswer, RenewalRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;

/// Every decoder of foreign bytes.
pub const TARGETS: [Target; 35] = [
    ("tdx_quote", tdx_quote),
    ("tdx_collateral", tdx_collateral),
    ("snp_report", snp_report),
    ("snp_certificate", snp_certificate),
    ("nvidia_report", nvidia_report),
    ("nvidia_chain", nvidia_chain),
    ("nvidia_evidence", nvidia_evidence),
    ("nvidia_golden", nvidia_golden),
    ("event_log", event_log),
    ("cbor", cbor),
    ("snp_endorsements", snp_endorsements),
    ("enrolment", enrolment),
    ("challenge", challenge),
    ("lease", lease),
    ("policy", policy),
    ("policy_signatures", policy_signatures),
    ("receipt_core", receipt_core),
    ("receipt_signed", receipt_signed),
    ("receipt_proof", receipt_proof),
    ("receipt_file", receipt_file),
    ("terms", terms),
    ("log_entry", log_entry),
    ("log_head", log_head),
    ("log_proof", log_proof),
    ("uplink_frames", uplink_frames),
    ("uplink_messages", uplink_messages),
    ("openai_peek", openai_peek),
    ("openai_requests", openai_requests),
    ("openai_events", openai_events),
    ("engine_messages", engine_messages),
    ("ton_proof", ton_proof),
    ("seal_head", seal_head),
    ("seal_keys", seal_keys),
    ("seal_body", seal_body),
    ("seal_answer", seal_answer),
];

/// 2026-11-22.
pub(crate) const AT: Timestamp = Timestamp::from_seconds(1_795_305_600);

/// Cuts bytes into parts, each with its length as two bytes in front; the last is what is left.
fn parts<const N: usize>(mut bytes: &[u8]) -> [&[u8]; N] {
    let mut parts: [&[u8]; N] = [&[]; N];
    for (place, part) in parts.iter_mut().enumerate() {
        *part = match bytes.split_first_chunk() {
            Some((length, rest)) if place + 1 < N => {
                let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
                let (part, rest) = rest.split_at(length);
                bytes = rest;
                part
            }
            _ => std::mem::take(&mut bytes),
        };
    }
    parts
}

/// What is read has one encoding.
fn has_one_encoding<T>(bytes: &[u8], read: Option<T>, encode: impl FnOnce(&T) -> Vec<u8>) {
    if let Some(value) = read {
        assert!(encode(&value) == bytes, "it was read, and is written otherwise");
    }
}

// === attest::verify ===

/// Collateral with no signature that holds; a quote's shape and own signature are judged before it.
pub(crate) const COLLATERAL: &str = r#"{"pck_crl_issuer_chain":"","root_ca_crl":"","pck_crl":"","tcb_info_issuer_chain":"","tcb_info":"{\"id\":\"TDX\",\"version\":3,\"issueDate\":\"2026-01-01T00:00:00Z\",\"nextUpdate\":\"2027-01-01T00:00:00Z\",\"fmspc\":\"50F700000000\",\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":1,\"tcbLevels\":[]}","tcb_info_signature":"","qe_identity_issuer_chain":"","qe_identity":"{\"id\":\"TD_QE\",\"version\":2,\"issueDate\":\"2026-01-01T00:00:00Z\",\"nextUpdate\":\"2027-01-01T00:00:00Z\",\"tcbEvaluationDataNumber\":1,\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"00000000000000000000000000000000\",\"attributesMask\":\"00000000000000000000000000000000\",\"mrsigner\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"isvprodid\":2,\"tcbLevels\":[]}","qe_identity_signature":""}"#;

fn tdx_quote(bytes: &[u8]) {
    static FIXED: LazyLock<Collateral> =
        LazyLock::new(|| Collateral::parse(COLLATERAL.as_bytes()).expect("it is readable"));
    if let Ok(verdict) = tdx::appraise(bytes, &FIXED, None, AT) {
        assert!(verdict.accepted().is_none(), "nothing leads to Intel");
    }
}

fn tdx_collateral(bytes: &[u8]) {
    let [quote, json] = parts(bytes);
    for json in [json, bytes] {
        if let Ok(collateral) = Collateral::parse(json)
            && let Ok(verdict) = tdx::appraise(quote, &collateral, None, AT)
        {
            assert!(verdict.accepted().is_none(), "nothing leads to Intel");
        }
    }
}

fn snp_report(bytes: &[u8]) {
    let [certificate, list, report] = parts(bytes);
    let list = (!list.is_empty()).then_some(list);
    if let Ok(verdict) = snp::appraise_under(SnpRoot::Amd, report, certificate, list, None, AT) {
        assert!(verdict.accepted().is_none(), "nothing leads to AMD");
    }
}

/// With a report whose shape is right, so that certificates and lists are read.
fn snp_certificate(bytes: &[u8]) {
    let [list, certificate] = parts(bytes);
    let report = [0; snp::REPORT_BYTES];
    let list = (!list.is_empty()).then_some(list);
    let _ = snp::appraise_under(SnpRoot::Amd, &report, certificate, list, None, AT);
    let _ = snp::appraise_under(SnpRoot::Amd, &report, bytes, None, None, AT);
}

fn nvidia_report(bytes: &[u8]) {
    let [chain, report] = parts(bytes);
    if let Ok(verdict) = nvidia::appraise(report, chain, None, AT) {
        assert!(verdict.accepted().is_none(), "nothing leads to NVIDIA");
        if let Some(claims) = verdict.claims() {
            let claims = std::slice::from_ref(claims);
            let _ = nvidia::devices::check(claims, 1, &[0; 32]);
            let _ = nvidia::devices::check_switches(claims);
        }
    }
}

/// The shortest report that is one, so that chains are read.
fn nvidia_chain(bytes: &[u8]) {
    let mut report = vec![0x11, 0xe0, 0x01, 0xff];
    report.extend([0; 33]);
    report.extend([0x11, 0x60, 0, 0]);
    report.extend([0; 4 + 32 + 2 + 96]);
    let _ = nvidia::appraise(&report, bytes, None, AT);
}

fn nvidia_evidence(bytes: &[u8]) {
    let _ = nvidia::evidence::read(bytes);
}

fn nvidia_golden(bytes: &[u8]) {
    let _ = nvidia::golden::Golden::parse(bytes);
}

fn event_log(bytes: &[u8]) {
    let log = EventLog::decode(bytes).ok();
    if let Some(log) = &log {
        assert!(log.rtmr3() != [0; 48] || log.events().is_empty());
    }
    has_one_encoding(bytes, log, EventLog::encode);
}

// === attest ===

fn cbor(bytes: &[u8]) {
    let mut reader = Decoder::new(bytes);
    for _ in 0..64 {
        let read = [
            reader.unsigned().is_ok(),
            reader.bytes(1024).is_ok(),
            reader.text(1024).is_ok(),
            reader.array(1024).is_ok(),
        ];
        if read == [false; 4] {
            break;
        }
    }
}

fn snp_endorsements(bytes: &[u8]) {
    has_one_encoding(bytes, SnpEndorsements::decode(bytes).ok(), SnpEndorsements::encode);
}

/// Under a policy that admits what software makes, where this build knows how to judge it.
fn enrolment(bytes: &[u8]) {
    static POLICY: LazyLock<Policy> = LazyLock::new(policy_of_the_lab);
    let _ = cocoon_attest::appraisal::examine(bytes, &POLICY, AT);
}

#[cfg(feature = "soft-tee")]
fn policy_of_the_lab() -> Policy {
    crate::seeds::lab().policy_for_any_model()
}

#[cfg(not(feature = "soft-tee"))]
fn policy_of_the_lab() -> Policy {
    let text = "schema = 1\nversion = 1\nnot_after = \"2049-12-31T00:00:00Z\"\nmode = \"development\"\n\
                lease_seconds = 600\ninsecure_any_model = true\ninsecure_any_machine = true\n";
    Policy::parse(text.as_bytes()).expect("it is a policy")
}

fn challenge(bytes: &[u8]) {
    let _ = Challenge::decode(bytes);
}

fn lease(bytes: &[u8]) {
    has_one_encoding(bytes, Lease::decode(bytes).ok(), Lease::encode);
}

fn policy(bytes: &[u8]) {
    if let Ok(policy) = Policy::parse(bytes) {
        assert_eq!(policy.digest(), Policy::parse(bytes).expect("it was read").digest());
    }
}

fn policy_signatures(bytes: &[u8]) {
    if let Ok(file) = SignatureFile::parse(bytes) {
        let again = file.to_json();
        let keys = SignatureFile::parse(again.as_bytes()).expect("it was just written");
        assert!(file.keys().eq(keys.keys()));
    }
}

fn receipt_core(bytes: &[u8]) {
    has_one_encoding(bytes, ReceiptCore::decode(bytes).ok(), ReceiptCore::encode);
}

fn receipt_signed(bytes: &[u8]) {
    let receipt = SignedReceipt::from_bytes(bytes).ok();
    if let Some(receipt) = &receipt {
        let _ = receipt.verify();
    }
    has_one_encoding(bytes, receipt, SignedReceipt::to_bytes);
}

fn receipt_proof(bytes: &[u8]) {
    has_one_encoding(bytes, Proof::from_bytes(bytes).ok(), Proof::to_bytes);
}

fn receipt_file(bytes: &[u8]) {
    if let Ok(file) = serde_json::from_slice::<ReceiptFile>(bytes) {
        let _ = verify_file(&file, None);
    }
}

fn terms(bytes: &[u8]) {
    has_one_encoding(bytes, Terms::decode(bytes).ok(), Terms::encode);
}

fn log_entry(bytes: &[u8]) {
    has_one_encoding(bytes, Entry::decode(bytes).ok(), Entry::encode);
}

fn log_head(bytes: &[u8]) {
    if let Ok(head) = serde_json::from_slice::<SignedHead>(bytes) {
        let _ = head.verify(&[1; 32]);
    }
}

/// Sizes and indices, then hashes: what a client takes from a log that it does not trust.
fn log_proof(bytes: &[u8]) {
    let Some((numbers, rest)) = bytes.split_first_chunk::<16>() else { return };
    let (first, second) = numbers.split_at(8);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight of them"));
    let (first, second) = (number(first), number(second));
    let (hashes, _) = rest.as_chunks::<32>();
    let (from, until, path) = match hashes {
        [from, until, path @ ..] => (from, until, path),
        _ => return,
    };
    let _ = verify_inclusion(from, first, second, path, until);
    let _ = verify_consistency(first, second, path, from, until);
}

// === uplink-wire ===

fn uplink_frames(bytes: &[u8]) {
    let Some((chunk, bytes)) = bytes.split_first() else { return };
    let mut decoder = cocoon_uplink_wire::FrameDecoder::new(4096);
    let mut written = Vec::new();
    for chunk in bytes.chunks(usize::from(*chunk) + 1) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => written.extend(cocoon_uplink_wire::encode_frame(
                    frame.kind,
                    frame.cumulative,
                    &frame.payload,
                )),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(bytes.starts_with(&written), "frames were read that nobody wrote");
}

fn uplink_messages(bytes: &[u8]) {
    fn message<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
        has_one_encoding(bytes, from_cbor::<T>(bytes).ok(), to_cbor);
        let mut decoder = cocoon_uplink_wire::MessageDecoder::new(4096);
        for chunk in bytes.chunks(7) {
            decoder.push(chunk);
            while let Ok(Some(_)) = decoder.next_message::<T>() {}
        }
    }
    message::<WorkerMessage>(bytes);
    message::<GatewayMessage>(bytes);
    message::<RenewalRequest>(bytes);
    message::<RenewalAnswer>(bytes);
    message::<WorkerEvent>(bytes);
    message::<GatewayEvent>(bytes);
}

// === openai-wire ===

fn openai_peek(bytes: &[u8]) {
    for endpoint in Endpoint::ALL {
        let _ = peek::read(endpoint, bytes);
    }
}

fn openai_requests(bytes: &[u8]) {
    let _ = chat::ChatRequest::parse(bytes);
    let _ = completions::CompletionsRequest::parse(bytes);
    let _ = embeddings::EmbeddingsRequest::parse(bytes);
    let _ = responses::ResponsesRequest::parse(bytes);
}

fn openai_events(bytes: &[u8]) {
    let Some((chunk, bytes)) = bytes.split_first() else { return };
    let events = |chunk: usize| {
        let mut decoder = sse::Decoder::new(4096);
        let mut events = Vec::new();
        for piece in bytes.chunks(chunk) {
            decoder.push(piece);
            loop {
                match decoder.next_event() {
                    Ok(Some(event)) => events.push(event.data),
                    Ok(None) => break,
                    Err(_) => return (events, true),
                }
            }
        }
        (events, false)
    };
    let (in_pieces, failed) = events(usize::from(*chunk) + 1);
    let (whole, whole_failed) = events(1);
    if !failed && !whole_failed {
        assert_eq!(in_pieces, whole, "the chunks decide what is read");
    }
}

// === engine-wire, ton ===

fn engine_messages(bytes: &[u8]) {
    fn messages<T: DeserializeOwned>(bytes: &[u8]) {
        let mut decoder = cocoon_engine_wire::FrameDecoder::new();
        for chunk in bytes.chunks(13) {
            decoder.push(chunk);
            while let Ok(Some(_)) = decoder.next_message::<T>() {}
        }
    }
    messages::<FromEngine>(bytes);
    messages::<ToEngine>(bytes);
}

fn ton_proof(bytes: &[u8]) {
    if let Ok(proof) = cocoon_ton::UnverifiedProof::from_json(bytes) {
        let json = serde_json::to_vec(&proof).expect("it was read from JSON");
        let again = cocoon_ton::UnverifiedProof::from_json(&json);
        assert!(again.is_ok() || json.len() > bytes.len(), "what was read is not read again");
    }
}

// === seal ===

/// Lines `name: value`, of which the first names the path.
pub(crate) fn read_head(text: &str) -> Option<Head> {
    let mut lines = text.lines();
    let path = lines.next()?;
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let get = |name: &str| {
        let mut found = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(*value)
    };
    Head::read(path, get).ok()
}

/// The same lines.
pub(crate) fn write_head(head: &Head) -> String {
    let lines = head.write().into_iter().map(|(name, value)| format!("\n{name}: {value}"));
    lines.fold(head.path.clone(), |text, line| text + &line)
}

fn seal_head(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(head) = read_head(text) {
        let again = read_head(&write_head(&head)).expect("a head that was just written");
        assert_eq!(again.aad(), head.aad());
    }
}

fn seal_keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(keys) = text.parse::<SealKeys>() {
        assert_eq!(keys.to_string(), text, "a list of keys has one text");
    }
}

/// The worker that requests are sealed to here.
pub(crate) fn recipient() -> (KeyPair, Recipient) {
    let key = KeyPair::from_seed(&[3; 32]);
    let recipient = Recipient {
        worker_id: WorkerId::from_bytes([5; 32]),
        key: key.public(),
        evidence_digest: Digest::from_bytes([6; 32]),
    };
    (key, recipient)
}

pub(crate) const HEAD: &str = "/v1/chat/completions
cocoon-request-id: req_01010101010101010101010101010101
cocoon-model: model
cocoon-stream: 1
cocoon-max-prompt-tokens: 100
cocoon-max-tokens: 16
cocoon-max-price: 1,2,3
cocoon-not-after: 1795305700000
cocoon-pay-commit: 0000000000000000000000000000000000000000000000000000000000000000";

fn seal_body(bytes: &[u8]) {
    let [head, keys, body] = parts(bytes);
    let (Ok(head), Ok(keys)) = (std::str::from_utf8(head), std::str::from_utf8(keys)) else {
        return;
    };
    let (Some(head), Ok(keys)) = (read_head(head), keys.parse()) else { return };
    let (key, recipient) = recipient();
    let Recipient { worker_id, evidence_digest, .. } = recipient;
    let _ = cocoon_seal::open(&head, &keys, worker_id, evidence_digest, &key, body);
}

fn seal_answer(bytes: &[u8]) {
    static KEYS: LazyLock<Option<cocoon_seal::AnswerKeys>> = LazyLock::new(|| {
        let random = SealRandom { cek: [7; 32], ephemeral: [[8; 32]; 4] };
        let (_, recipient) = recipient();
        let head = read_head(HEAD)?;
        cocoon_seal::seal(&head, b"{}", &[recipient], &random).ok().map(|(_, _, keys)| keys)
    });
    let Some(keys) = KEYS.as_ref() else { panic!("the fixed head is a head") };
    let mut opener = keys.opener();
    for chunk in bytes.chunks(17) {
        opener.push(chunk);
        while let Ok(Some(_)) = opener.next_frame() {}
    }
    let _ = opener.finish();
}
