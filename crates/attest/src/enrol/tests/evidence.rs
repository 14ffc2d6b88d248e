//! What the evidence itself must hold to: roots, report data, event log, dates, and devices.

use super::*;
use crate::evidence::{Device, DeviceKind, Evidence, Kind, SnpEndorsements};
use crate::softtee::SoftTee;
use crate::verify::event_log::{Event, MODEL_MANIFEST, SYSTEM_READY};

/// An answer whose evidence is made from the report data by hand.
fn with_evidence(make: impl FnOnce([u8; 64]) -> Evidence) -> &'static str {
    let (open, challenge) = open(1);
    let prepared = challenge.prepare(&claim(&workload(), &receipt_key()), &[]);
    let evidence = make(prepared.report_data());
    code(verify(open, &prepared.finish(evidence)))
}

#[test]
fn evidence_of_another_root_is_refused() {
    let other = SoftTee::from_seed(&[99; 32]);
    let refused = with_evidence(|data| other.tdx(data, &log(&workload()), LAB.image(), NOW));
    assert_eq!(refused, "unverified");
}

#[test]
fn software_that_calls_itself_hardware_is_refused() {
    let refused = with_evidence(|data| Evidence {
        kind: Kind::Tdx,
        ..LAB.evidence(data, &log(&workload()), NOW)
    });
    assert_eq!(refused, "unverified");
}

#[test]
fn evidence_over_other_data_is_refused() {
    let refused = with_evidence(|_| LAB.evidence([0; 64], &log(&workload()), NOW));
    assert_eq!(refused, "quote_report_data");
}

/// What costs nothing to see is seen before anybody's chain is followed: here, to no root that counts.
#[test]
fn other_data_and_another_log_are_refused_before_the_vendors_chain() {
    let other = SoftTee::from_seed(&[99; 32]);
    let quote = |data, log: &EventLog| other.tdx(data, log, LAB.image(), NOW);
    let honest = log(&workload());
    assert_eq!(with_evidence(|_| quote([0; 64], &honest)), "quote_report_data");
    let unmeasured = with_evidence(|data| Evidence {
        event_log: honest.encode(),
        ..quote(data, &EventLog::new(Vec::new()).unwrap())
    });
    assert_eq!(unmeasured, "event_log_register");
}

/// The places that are looked at early are those that are verified later.
#[test]
fn what_is_looked_at_is_what_is_verified() {
    let measured = log(&workload());
    let tdx = LAB.evidence([9; 64], &measured, NOW);
    assert_eq!(crate::verify::tdx::peek(&tdx.quote), Some(([9; 64], measured.rtmr3())));
    let snp = Lab::new([1; 32]).with_snp([2; 32]).evidence([9; 64], &measured, NOW);
    assert_eq!(crate::verify::snp::peek(&snp.quote), Some(([9; 64], measured.host_data())));
    assert_eq!(crate::verify::tdx::peek(&snp.quote), None);
    assert_eq!(crate::verify::snp::peek(&tdx.quote), None);
}

#[test]
fn a_changed_quote_is_refused() {
    // In the report, and in the signature over it, which stands behind 632 bytes and a length.
    for at in [200, 640] {
        let refused = with_evidence(|data| {
            let mut evidence = LAB.evidence(data, &log(&workload()), NOW);
            evidence.quote[at] ^= 1;
            evidence
        });
        assert_eq!(refused, "quote_signature", "byte {at}");
    }
    let short = with_evidence(|data| {
        let mut evidence = LAB.evidence(data, &log(&workload()), NOW);
        evidence.quote.truncate(100);
        evidence
    });
    assert_eq!(short, "quote_malformed");
}

#[test]
fn collateral_that_is_late_early_or_none_is_refused() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let stapled =
        |made: Timestamp| with_evidence(|data| LAB.evidence(data, &log(&workload()), made));
    assert_eq!(stapled(NOW.saturating_sub(DAY * 31)), "collateral_expired");
    assert_eq!(stapled(NOW.saturating_add(DAY * 2)), "collateral_not_yet_valid");
    let none = with_evidence(|data| Evidence {
        endorsements: b"{}".to_vec(),
        ..LAB.evidence(data, &log(&workload()), NOW)
    });
    assert_eq!(none, "collateral_malformed");
}

/// A log that the guest measured, so that only its contents can refuse it.
fn with_log(log: &EventLog) -> &'static str {
    with_evidence(|data| LAB.evidence(data, log, NOW))
}

#[test]
fn the_event_log_is_the_measured_one() {
    let other = EventLog::new(Vec::new()).unwrap();
    let unmeasured = with_evidence(|data| Evidence {
        event_log: log(&workload()).encode(),
        ..LAB.evidence(data, &other, NOW)
    });
    assert_eq!(unmeasured, "event_log_register");
    let garbage =
        with_evidence(|data| Evidence { event_log: vec![0xff], ..LAB.evidence(data, &other, NOW) });
    assert_eq!(garbage, "event_log_encoding");
}

#[test]
fn events_stand_once_each_in_their_order_and_say_what_the_workload_says() {
    let good = log(&workload()).events().to_vec();
    let changed = |change: fn(&mut Vec<Event>)| {
        let mut events = good.clone();
        change(&mut events);
        with_log(&EventLog::new(events).unwrap())
    };
    assert_eq!(changed(|events| drop(events.pop())), "event_log_events");
    assert_eq!(changed(|events| events.push(events[2].clone())), "event_log_events");
    assert_eq!(changed(|events| events.swap(0, 1)), "event_log_events");
    assert_eq!(changed(|events| events[2].payload = vec![1]), "event_log_events");
    assert_eq!(changed(|events| events[1].name = SYSTEM_READY.to_owned()), "event_log_events");
    assert_eq!(
        changed(|events| events[0].name = MODEL_MANIFEST.to_uppercase()),
        "event_log_events"
    );
    let mut lying = workload();
    lying.models[0].manifest_digest = Digest::from_bytes([1; 32]);
    assert_eq!(with_log(&log(&lying)), "event_log_models");
    let lying = Workload { gpu_count: 1, ..workload() };
    assert_eq!(with_log(&log(&lying)), "event_log_gpus");
}

/// A lab with GPUs, its policy, and the answer of a guest whose devices `change` may exchange.
fn with_devices(
    gpus: u32,
    stated: u32,
    change: impl FnOnce(&mut Vec<Device>, [u8; 32]),
) -> Result<Attested, Refusal> {
    let lab = Lab::new([1; 32]).with_gpus(gpus);
    let policy = parse(&lab.policy_toml(&[(MODEL, &hex::encode([9; 32]))]));
    let (open, challenge) = open_under(1, &policy);
    let workload = Workload { gpu_count: stated, cc_on: true, ..workload() };
    let key = receipt_key();
    let claim = claim(&workload, &key);
    let nonce = challenge.gpu_nonce(&claim);
    let mut devices = lab.devices(nonce, NOW);
    change(&mut devices, nonce);
    let prepared = challenge.prepare(&claim, &devices);
    let evidence = lab.evidence(prepared.report_data(), &log(&workload), NOW);
    verify_at(open, &prepared.finish(evidence), &policy, NOW)
}

#[test]
fn devices_answer_the_nonce_once_each_and_are_as_many_as_stated() {
    assert_eq!(with_devices(2, 2, |_, _| {}).unwrap().appraised().devices.len(), 2);
    let stale = with_devices(1, 1, |devices, _| devices[0] = LAB.soft_tee().gpu(0, [0; 32], NOW));
    assert_eq!(code(stale), "gpu_nonce");
    let twice = with_devices(2, 2, |devices, _| devices[1] = devices[0].clone());
    assert_eq!(code(twice), "gpu_repeated");
    assert_eq!(code(with_devices(1, 2, |_, _| {})), "gpu_count");
    assert_eq!(code(with_devices(2, 1, |_, _| {})), "gpu_count");
    let unlike_the_image = with_devices(2, 1, |devices, _| devices.truncate(1));
    assert_eq!(code(unlike_the_image), "image_gpus");
}

#[test]
fn devices_of_others_and_changed_reports_are_refused() {
    let other = SoftTee::from_seed(&[99; 32]);
    let foreign = with_devices(1, 1, |devices, nonce| devices[0] = other.gpu(0, nonce, NOW));
    assert_eq!(code(foreign), "gpu_chain");
    let posing = with_devices(1, 1, |devices, _| devices[0].kind = DeviceKind::Nvidia);
    assert_eq!(code(posing), "gpu_chain");
    let changed = with_devices(1, 1, |devices, _| *devices[0].report.last_mut().unwrap() ^= 1);
    assert_eq!(code(changed), "gpu_signature");
    let garbage = with_devices(1, 1, |devices, _| devices[0].report.truncate(5));
    assert_eq!(code(garbage), "gpu_malformed");
}

#[test]
fn devices_that_were_swapped_after_the_binding_are_refused() {
    let lab = Lab::new([1; 32]).with_gpus(1);
    let policy = parse(&lab.policy_toml(&[(MODEL, &hex::encode([9; 32]))]));
    let (open, challenge) = open_under(1, &policy);
    let workload = Workload { gpu_count: 1, cc_on: true, ..workload() };
    let key = receipt_key();
    let claim = claim(&workload, &key);
    let mut message = UnverifiedEvidence::decode(&lab.answer(&challenge, &claim, NOW)).unwrap();
    let another = lab.soft_tee().gpu(1, challenge.gpu_nonce(&claim), NOW);
    message.dev = Device::encode_list(&[another]);
    assert_eq!(code(verify_at(open, &message.encode(), &policy, NOW)), "devices_changed");
}

#[test]
fn a_guest_of_sev_snp_enrols_and_needs_a_revocation_list() {
    let lab = Lab::new([1; 32]).with_snp([2; 32]);
    let policy = parse(&lab.policy_toml(&[(MODEL, &hex::encode([9; 32]))]));
    let enrol = |change: fn(&mut Evidence)| {
        let (open, challenge) = open_under(1, &policy);
        let prepared = challenge.prepare(&claim(&workload(), &receipt_key()), &[]);
        let mut evidence = lab.evidence(prepared.report_data(), &log(&workload()), NOW);
        change(&mut evidence);
        verify_at(open, &prepared.finish(evidence), &policy, NOW)
    };
    let attested = enrol(|_| {}).unwrap();
    assert_eq!(attested.appraised().platform.tee(), "snp");
    let unlisted = enrol(|evidence| {
        let mut endorsements = SnpEndorsements::decode(&evidence.endorsements).unwrap();
        endorsements.crl.clear();
        evidence.endorsements = endorsements.encode();
    });
    assert_eq!(code(unlisted), "revocations_missing");
    assert_eq!(code(enrol(|evidence| evidence.endorsements.clear())), "endorsements_malformed");
    assert_eq!(code(enrol(|evidence| evidence.quote.truncate(9))), "report_malformed");
    assert_eq!(code(enrol(|evidence| evidence.kind = Kind::Snp)), "chain");
    let unlogged =
        enrol(|evidence| evidence.event_log = EventLog::new(Vec::new()).unwrap().encode());
    assert_eq!(code(unlogged), "event_log_register");
}

#[test]
fn software_is_refused_in_production_and_where_it_is_not_allowed() {
    let text = policy_text();
    let (start, end) = (text.find("[software]").unwrap(), text.find("[tdx]").unwrap());
    let plain = format!("{}{}", &text[..start], &text[end..]);
    for (text, expected) in [
        (plain.replace("\"development\"", "\"production\""), "software_in_production"),
        (plain.clone(), "software_not_allowed"),
        (text.replace("insecure_allow = true", "insecure_allow = false"), "software_not_allowed"),
        (
            text.lines()
                .filter(|line| !line.starts_with("tdx_root"))
                .fold(String::new(), |all, line| all + line + "\n"),
            "software_not_allowed",
        ),
    ] {
        let policy = parse(&text);
        let (open, challenge) = open_under(1, &policy);
        assert_eq!(code(verify_at(open, &answer(&challenge), &policy, NOW)), expected);
    }
}
