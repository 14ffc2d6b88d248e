//! Placement, one rule at a time.

use std::time::Duration;

use cocoon_attest::enrol::WorkloadModel;
use cocoon_primitives::{Digest, LeaseId, ModelKind, Timestamp, WalletAddress};
use proptest::prelude::*;

use super::*;
use crate::quarantine::QUARANTINED_MAX;
use cocoon_attest::appraisal::Appraised;

mod proven;

use proven::{LATER, Text, appraised, attested, evidence_of, with_gpus};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SOFT: Assurance = Assurance::Software;
const LIFE: Duration = Duration::from_secs(600);
const ROOMY: Load = Load { running: 0, waiting: 0, permits: 100, queue: 0 };

fn worker(n: u8) -> WorkerId {
    WorkerId::from_bytes([n; 32])
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn lease(n: u8, assurance: Assurance) -> Lease {
    let model = WorkloadModel {
        name: name("m"),
        manifest_digest: Digest::from_bytes([0; 32]),
        context_length: 1000 + u64::from(n),
        engine: "scripted".to_owned(),
        is_demo: true,
        kind: ModelKind::Chat,
        owned_by: "cocoon".to_owned(),
    };
    Lease {
        lease_id: LeaseId::from_bytes([n; 16]),
        worker_id: worker(n),
        receipt_key: [n; 32],
        tls_spki_sha256: Digest::from_bytes([n; 32]),
        payee: WalletAddress::new(0, [n; 32]),
        models: vec![model],
        assurance,
        evidence_digest: Digest::from_bytes([1; 32]),
        policy_digest: Digest::from_bytes([2; 32]),
        issued: NOW,
        expires: NOW.saturating_add(LIFE),
        hpke_key: [n; 32],
        image: "image".to_owned(),
    }
}

/// A member without a handshake: placement asks nothing of what it proved.
fn join(fleet: &mut Fleet<u8>, lease: Lease, link: u8) -> Option<u8> {
    fleet.insert(lease, appraised(), link, NOW)
}

/// A fleet of software workers with room, whose links are their numbers.
fn fleet(workers: &[u8]) -> Fleet<u8> {
    let mut fleet = Fleet::new();
    for n in workers {
        join(&mut fleet, lease(*n, Assurance::Software), *n);
        fleet.load(worker(*n), ROOMY);
    }
    fleet
}

fn pick(fleet: &mut Fleet<u8>, exclude: &[WorkerId]) -> Result<u8, Unavailable> {
    fleet.pick(&name("m"), SOFT, NOW, 7, exclude).map(|pick| pick.link)
}

#[test]
fn a_name_nobody_served_is_unknown_and_one_that_left_is_not() {
    let mut fleet = fleet(&[1]);
    let unknown = fleet.pick(&name("other"), SOFT, NOW, 0, &[]).map(|pick| pick.link);
    assert_eq!(unknown, Err(Unavailable::UnknownModel));
    fleet.remove(worker(1), lease(1, Assurance::Software).lease_id);
    assert_eq!(pick(&mut fleet, &[]), Err(Unavailable::NoWorker));
}

#[test]
fn hardware_is_never_replaced_by_software() {
    let mut fleet = fleet(&[1]);
    join(&mut fleet, lease(2, Assurance::Hardware), 2);
    fleet.load(worker(2), ROOMY);
    for random in 0..50 {
        let random = random << 32 | random;
        let pick = fleet.pick(&name("m"), Assurance::Hardware, NOW, random, &[]).unwrap();
        assert_eq!(pick.link, 2);
    }
    let hardware = fleet.pick(&name("m"), Assurance::Hardware, NOW, 0, &[worker(2)]);
    assert_eq!(hardware.map(|pick| pick.link), Err(Unavailable::NoWorker));
    assert_eq!(pick(&mut fleet, &[]), Err(Unavailable::NoWorker));
    fleet.drain(worker(2), LeaseId::from_bytes([2; 16]));
    assert_eq!(pick(&mut fleet, &[]), Err(Unavailable::NoWorker));
    fleet.load(worker(2), Load { permits: 0, ..ROOMY });
    let models = fleet.models(NOW);
    assert!(models.is_empty(), "{models:?} mixes software in");
}

#[test]
fn an_expired_lease_gets_nothing_and_is_reported_once() {
    let mut fleet = fleet(&[1]);
    let late = NOW.saturating_add(LIFE);
    assert_eq!(
        fleet.pick(&name("m"), SOFT, late, 0, &[]).map(|pick| pick.link),
        Err(Unavailable::NoWorker)
    );
    assert_eq!(fleet.expire(NOW), []);
    assert_eq!(fleet.expire(late), [(worker(1), 1)]);
    assert_eq!(fleet.expire(late), []);
}

#[test]
fn a_draining_worker_gets_nothing_new() {
    let mut fleet = fleet(&[1, 2]);
    fleet.drain(worker(1), LeaseId::from_bytes([1; 16]));
    for _ in 0..20 {
        assert_eq!(pick(&mut fleet, &[]), Ok(2));
    }
    assert_eq!(fleet.models(NOW)[0].workers, 1);
}

#[test]
fn excluded_workers_are_not_asked_again() {
    let mut fleet = fleet(&[1, 2]);
    assert_eq!(pick(&mut fleet, &[worker(1)]), Ok(2));
    assert_eq!(pick(&mut fleet, &[worker(1), worker(2)]), Err(Unavailable::NoWorker));
}

#[test]
fn a_sealed_request_goes_only_where_it_opens() {
    let mut fleet = fleet(&[1, 2, 3]);
    let among = |fleet: &mut Fleet<u8>, workers: &[WorkerId], random, exclude: &[WorkerId]| {
        fleet.pick_among(workers, &name("m"), SOFT, NOW, random, exclude).map(|pick| pick.link)
    };
    for random in 0..50 {
        let picked = among(&mut fleet, &[worker(2), worker(3)], random << 32 | random, &[]);
        assert!(matches!(picked, Ok(2 | 3)), "{picked:?}");
    }
    assert_eq!(among(&mut fleet, &[worker(2), worker(3)], 0, &[worker(2)]), Ok(3));
    for nobody in [&[worker(9)][..], &[]] {
        assert_eq!(among(&mut fleet, nobody, 0, &[]), Err(Unavailable::NoWorker));
    }
    fleet.load(worker(1), Load { running: 100, ..ROOMY });
    assert_eq!(among(&mut fleet, &[worker(1)], 0, &[]), Err(Unavailable::Saturated));
}

#[test]
fn a_quarantined_worker_gets_nothing_and_does_not_come_back() {
    let mut fleet = fleet(&[1, 2]);
    assert_eq!(fleet.quarantine(worker(1)), Some(1));
    assert_eq!(fleet.quarantine(worker(1)), None);
    for _ in 0..20 {
        assert_eq!(pick(&mut fleet, &[]), Ok(2));
    }
    assert!(fleet.is_quarantined(worker(1)) && !fleet.is_quarantined(worker(2)));
}

#[test]
fn a_full_quarantine_forgets_the_oldest_and_refuses_nobody_else() {
    let mut fleet = fleet(&[1]);
    let id = |n: usize| {
        let mut bytes = [0xff; 32];
        bytes[..8].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
        WorkerId::from_bytes(bytes)
    };
    for n in 0..QUARANTINED_MAX {
        fleet.quarantine(id(n));
    }
    assert!(fleet.is_quarantined(id(0)) && !fleet.is_quarantined(worker(1)));
    // Who is there already takes no place.
    assert_eq!(fleet.quarantine(id(5)), None);
    assert!(fleet.is_quarantined(id(0)));
    fleet.quarantine(id(QUARANTINED_MAX));
    assert!(!fleet.is_quarantined(id(0)), "the oldest is forgotten");
    assert!(fleet.is_quarantined(id(1)) && fleet.is_quarantined(id(QUARANTINED_MAX)));
    let honest = attested(&[1; 32], &Text::default());
    assert_eq!(fleet.admit(honest, 1, NOW), Ok(None));
}

#[test]
fn one_gpu_stands_behind_one_worker_at_a_time() {
    let mut fleet = Fleet::new();
    let (one, both, other) = (with_gpus(&[0]), with_gpus(&[1, 0]), with_gpus(&[1]));
    fleet.insert(lease(1, Assurance::Hardware), Arc::clone(&one), 1, NOW);
    let judge = |fleet: &Fleet<u8>, n, appraised: &Appraised| {
        fleet.judge(&lease(n, Assurance::Hardware), appraised, NOW)
    };
    assert_eq!(judge(&fleet, 2, &one), Err(NotAdmitted::GpuInUse));
    assert_eq!(judge(&fleet, 2, &both), Err(NotAdmitted::GpuInUse));
    assert_eq!(judge(&fleet, 2, &other), Ok(()));
    assert_eq!(judge(&fleet, 1, &one), Ok(()), "a new connection of the same worker");
    // Software's serial numbers are the same everywhere.
    let mut software = (*one).clone();
    software.software_roots.devices = Some(Digest::from_bytes([1; 32]));
    assert_eq!(judge(&fleet, 2, &software), Ok(()));
    fleet.drain(worker(1), LeaseId::from_bytes([1; 16]));
    assert_eq!(judge(&fleet, 2, &one), Ok(()), "who held it leaves");
}

#[test]
fn a_model_is_of_one_kind() {
    let mut fleet = fleet(&[2]);
    let mut other = lease(1, SOFT);
    other.models[0].kind = ModelKind::Embedding;
    let judged = fleet.judge(&other, &appraised(), NOW);
    assert_eq!(judged, Err(NotAdmitted::ModelKind));
    assert_eq!(fleet.judge(&lease(1, SOFT), &appraised(), NOW), Ok(()));
    fleet.remove(worker(2), LeaseId::from_bytes([2; 16]));
    assert_eq!(fleet.judge(&other, &appraised(), NOW), Ok(()), "nobody serves it now");
}

#[test]
fn what_a_list_of_models_says_does_not_hang_on_who_came_first() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let mut fleet = Fleet::new();
        for n in order {
            let mut lease = lease(n, SOFT);
            lease.models[0].owned_by = format!("owner-{n}");
            lease.models[0].is_demo = n == 3;
            join(&mut fleet, lease, n);
        }
        let models = fleet.models(NOW);
        assert_eq!((models[0].owned_by.as_str(), models[0].is_demo), ("owner-1", true));
    }
}

#[test]
fn places_are_permits_and_queue() {
    let mut fleet = fleet(&[1]);
    fleet.load(worker(1), Load { running: 0, waiting: 0, permits: 1, queue: 2 });
    for _ in 0..3 {
        assert_eq!(pick(&mut fleet, &[]), Ok(1));
    }
    assert_eq!(pick(&mut fleet, &[]), Err(Unavailable::Saturated));
    fleet.finished(worker(1), LeaseId::from_bytes([1; 16]));
    assert_eq!(pick(&mut fleet, &[]), Ok(1));
    fleet.load(worker(1), Load { running: 1, waiting: 2, permits: 1, queue: 2 });
    fleet.finished(worker(1), LeaseId::from_bytes([1; 16]));
    assert_eq!(pick(&mut fleet, &[]), Err(Unavailable::Saturated), "the report says full");
}

#[test]
fn before_its_first_report_a_worker_takes_one() {
    let mut fleet = Fleet::new();
    join(&mut fleet, lease(1, Assurance::Software), 1);
    assert_eq!(pick(&mut fleet, &[]), Ok(1));
    assert_eq!(pick(&mut fleet, &[]), Err(Unavailable::Saturated));
}

#[test]
fn of_two_the_less_loaded_serves() {
    let mut fleet = fleet(&[1, 2]);
    fleet.load(worker(1), Load { running: 50, ..ROOMY });
    for random in 0..100 {
        let random = u64::from_be_bytes([random; 8]);
        assert_eq!(fleet.pick(&name("m"), SOFT, NOW, random, &[]).unwrap().link, 2);
        fleet.finished(worker(2), LeaseId::from_bytes([2; 16]));
    }
}

#[test]
fn a_struck_worker_serves_only_where_nobody_else_does() {
    let mut fleet = fleet(&[1, 2]);
    fleet.strike(worker(1), NOW);
    for _ in 0..20 {
        assert_eq!(pick(&mut fleet, &[]), Ok(2));
    }
    assert_eq!(pick(&mut fleet, &[worker(2)]), Ok(1));
    let later = NOW.saturating_add(Duration::from_secs(1));
    fleet.load(worker(2), Load { running: 99, ..ROOMY });
    assert_eq!(fleet.pick(&name("m"), SOFT, later, 7, &[]).unwrap().link, 1);
}

#[test]
fn a_new_lease_replaces_the_old_one_and_survives_its_end() {
    let mut fleet = fleet(&[1]);
    let newer = Lease { lease_id: LeaseId::from_bytes([9; 16]), ..lease(1, Assurance::Software) };
    assert_eq!(join(&mut fleet, newer, 10), Some(1));
    fleet.drain(worker(1), LeaseId::from_bytes([1; 16]));
    fleet.remove(worker(1), LeaseId::from_bytes([1; 16]));
    assert_eq!(pick(&mut fleet, &[]), Ok(10));
    fleet.remove(worker(1), LeaseId::from_bytes([9; 16]));
    assert!(fleet.is_empty());
}

#[test]
fn a_model_shows_its_least_context() {
    let models = fleet(&[3, 1, 2]).models(NOW);
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].context_length, models[0].workers), (1001, 3));
    assert_eq!(models[0].assurance, Assurance::Software);
}

#[test]
fn a_request_keeps_the_assurance_that_it_was_promised() {
    let mut fleet = fleet(&[1]);
    let hard = |fleet: &mut Fleet<u8>| {
        fleet.pick(&name("m"), Assurance::Hardware, NOW, 0, &[]).map(|pick| pick.link)
    };
    assert_eq!(hard(&mut fleet), Err(Unavailable::NoWorker), "only software is here");
    join(&mut fleet, lease(2, Assurance::Hardware), 2);
    fleet.load(worker(2), ROOMY);
    assert_eq!((hard(&mut fleet), pick(&mut fleet, &[])), (Ok(2), Err(Unavailable::NoWorker)));
    fleet.remove(worker(2), LeaseId::from_bytes([2; 16]));
    assert_eq!((hard(&mut fleet), pick(&mut fleet, &[])), (Err(Unavailable::NoWorker), Ok(1)));
}

#[test]
fn an_old_leases_requests_are_not_counted_against_the_new_one() {
    let mut fleet = fleet(&[1]);
    let old = fleet.pick(&name("m"), SOFT, NOW, 0, &[]).unwrap();
    let newer = Lease { lease_id: LeaseId::from_bytes([9; 16]), ..lease(1, SOFT) };
    join(&mut fleet, newer, 10);
    let new = fleet.pick(&name("m"), SOFT, NOW, 0, &[]).unwrap();
    fleet.finished(old.worker, old.lease.lease_id);
    assert_eq!(fleet.in_flight(worker(1)), 1);
    fleet.finished(new.worker, new.lease.lease_id);
    assert_eq!(fleet.in_flight(worker(1)), 0);
}

#[test]
fn an_attested_worker_is_a_member_with_what_it_proved() {
    let mut fleet = Fleet::new();
    let attested = attested(&[1; 32], &Text::default());
    let (worker, lease) = (attested.lease().worker_id, attested.lease().clone());
    let proven = attested.appraised().clone();
    assert_eq!(fleet.admit(attested, 1, NOW), Ok(None));
    let [(held, appraised, link)] = &fleet.attested(NOW)[..] else { panic!("not one") };
    assert_eq!((&**held, &**appraised, *link), (&lease, &proven, 1));
    assert!(fleet.attested(lease.expires).is_empty(), "its lease has ended");
    fleet.drain(worker, lease.lease_id);
    assert!(fleet.attested(NOW).is_empty(), "it drains");
}

#[test]
fn a_quarantined_worker_is_refused_and_one_with_another_key_is_not() {
    let mut fleet = Fleet::new();
    let text = Text::default();
    let worker = attested(&[1; 32], &text).lease().worker_id;
    assert_eq!(fleet.admit(attested(&[1; 32], &text), 1, NOW), Ok(None));
    assert_eq!(fleet.quarantine(worker), Some(1));
    assert_eq!(fleet.admit(attested(&[1; 32], &text), 2, NOW), Err(NotAdmitted::Quarantined));
    assert!(fleet.is_empty());
    assert_eq!(fleet.admit(attested(&[2; 32], &text), 3, NOW), Ok(None));
}

#[test]
fn a_row_that_goes_takes_its_workers_with_it() {
    let mut fleet = Fleet::new();
    let text = Text::default();
    let removed = attested(&[1; 32], &text);
    let (worker, lease) = (removed.lease().worker_id, removed.lease().lease_id);
    assert_eq!(fleet.admit(removed, 1, NOW), Ok(None));
    assert!(fleet.reappraise(&text.policy(), NOW).is_empty(), "nothing changed");
    let without = Text { models: "", ..text };
    let ended = fleet.reappraise(&without.policy(), NOW);
    let [(gone, of, refusal, link)] = &ended[..] else { panic!("not one") };
    assert_eq!((*gone, *of, refusal.code(), *link), (worker, lease, "model_not_listed", 1));
    assert!(fleet.is_empty());
    let admitted = fleet.admit(attested(&[1; 32], &text), 2, NOW);
    assert_eq!(admitted, Ok(None), "who was revoked may come back under a policy that says so");
}

#[test]
fn a_policy_that_ends_sooner_shortens_leases_and_at_its_end_takes_all() {
    let mut fleet = Fleet::new();
    let text = Text::default();
    assert_eq!(fleet.admit(attested(&[1; 32], &text), 1, NOW), Ok(None));
    let sooner = Text { not_after: LATER, ..text };
    let policy = sooner.policy();
    assert!(policy.not_after() < NOW.saturating_add(LIFE), "the test is about shortening");
    assert!(fleet.reappraise(&policy, NOW).is_empty());
    assert_eq!(fleet.attested(NOW)[0].0.expires, policy.not_after());
    let ended = fleet.reappraise(&policy, policy.not_after());
    assert_eq!(ended[0].2.code(), "policy_ended");
}

#[test]
fn what_a_full_renewal_proved_is_judged_next() {
    let mut fleet = Fleet::new();
    let text = Text::default();
    assert_eq!(fleet.admit(attested(&[1; 32], &text), 1, NOW), Ok(None));
    let (lease, held, _) = fleet.attested(NOW).remove(0);
    let changed = Text { version: 2, ..text };
    let again = attested(&[1; 32], &changed);
    let later = NOW.saturating_add(Duration::from_secs(5));
    let (renewed, proven) =
        cocoon_attest::renewal::full(&lease, &held, again, later).expect("the same worker");
    fleet.renewed(renewed, Arc::new(proven));
    let (held, appraised, _) = &fleet.attested(NOW)[0];
    assert_eq!(held.evidence_digest, lease.evidence_digest, "receipts name the first evidence");
    assert_eq!(appraised.policy_digest, changed.policy().digest());
    assert_ne!(appraised.evidence_digest, evidence_of(&[1; 32], &text));
}

proptest! {
    /// Whatever happens, a pick has a live lease, is not excluded, and never exceeds places.
    #[test]
    fn a_pick_is_always_allowed(
        operations in prop::collection::vec((0_u8..6, 1_u8..5, any::<u64>()), 0..200),
    ) {
        let mut fleet = fleet(&[1, 2, 3, 4]);
        let load = Load { running: 0, waiting: 0, permits: 2, queue: 1 };
        (1..5).for_each(|n| fleet.load(worker(n), load));
        let mut open = [0_u32; 5];
        for (operation, n, random) in operations {
            match operation {
                0 => fleet.strike(worker(n), NOW),
                1 => {
                    fleet.finished(worker(n), LeaseId::from_bytes([n; 16]));
                    open[usize::from(n)] = open[usize::from(n)].saturating_sub(1);
                }
                _ => {
                    let exclude = [worker(n)];
                    if let Ok(pick) = fleet.pick(&name("m"), SOFT, NOW, random, &exclude) {
                        prop_assert_ne!(pick.worker, worker(n));
                        prop_assert!(pick.lease.is_live(NOW));
                        open[usize::from(pick.link)] += 1;
                        prop_assert!(open[usize::from(pick.link)] <= 3);
                    }
                }
            }
        }
    }
}
