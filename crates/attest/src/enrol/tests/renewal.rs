//! Renewals, light and full.

use super::*;
use crate::appraisal::Appraised;
use crate::renewal::{self, Held, LightChallenge, RenewalFault, Renewed};

fn leased() -> (Lease, Appraised) {
    let (open, challenge) = open(1);
    verify(open, &answer(&challenge)).unwrap().into_parts()
}

fn light(
    (lease, appraised): &(Lease, Appraised),
    signature: &[u8; 64],
    policy: &Policy,
    now: Timestamp,
) -> Result<Lease, RenewalFault> {
    let held = Held { lease, appraised, exporter: &EXPORTER };
    LightChallenge::issue([1; 32]).verify(&held, signature, policy, now).map(Renewed::into_lease)
}

fn signed(exporter: &[u8; 32], nonce: [u8; 32], id: LeaseId) -> [u8; 64] {
    renewal::answer(&receipt_key(), &nonce, exporter, id)
}

#[test]
fn a_light_renewal_moves_only_the_end() {
    let held = leased();
    let later = NOW.saturating_add(Duration::from_secs(400));
    let signature = signed(&EXPORTER, [1; 32], held.0.lease_id);
    let renewed = light(&held, &signature, &POLICY, later).unwrap();
    let expires = later.saturating_add(Duration::from_secs(600));
    assert_eq!(renewed, Lease { expires, ..held.0 });
}

#[test]
fn a_light_renewal_is_refused_for_its_own_reason() {
    let held = leased();
    let id = held.0.lease_id;
    for signature in [
        signed(&[0; 32], [1; 32], id),
        signed(&EXPORTER, [2; 32], id),
        signed(&EXPORTER, [1; 32], LeaseId::from_bytes([0; 16])),
    ] {
        assert_eq!(light(&held, &signature, &POLICY, NOW), Err(RenewalFault::Signature));
    }
    let good = signed(&EXPORTER, [1; 32], id);
    assert_eq!(light(&held, &good, &POLICY, held.0.expires), Err(RenewalFault::Expired));
    let changed = parse(&policy_text().replace("version = 1", "version = 2"));
    assert_eq!(light(&held, &good, &changed, NOW), Err(RenewalFault::Policy));
    let other =
        Appraised { worker_id: ReceiptKey::from_seed(&[3; 32]).worker_id(), ..held.1.clone() };
    let verdict = light(&(held.0.clone(), other), &good, &POLICY, NOW);
    assert_eq!(verdict, Err(RenewalFault::Changed));
    // What the evidence rested on has ended, though the policy is the same.
    let ended = Appraised { collateral_until: NOW, ..held.1.clone() };
    let verdict = light(&(held.0.clone(), ended), &good, &POLICY, NOW);
    assert_eq!(verdict.unwrap_err().code(), "collateral_ended");
}

#[test]
fn a_full_renewal_must_be_of_the_same_worker() {
    let (lease, held) = leased();
    let again = |id| {
        let (open, challenge) = open(id);
        verify(open, &answer(&challenge)).unwrap()
    };
    let (renewed, appraised) = renewal::full(&lease, &held, again(2), NOW).unwrap();
    assert_eq!(renewed.lease().evidence_digest, lease.evidence_digest);
    assert_ne!(appraised.evidence_digest, lease.evidence_digest);
    let fault = |lease: &Lease, now| renewal::full(lease, &held, again(3), now).unwrap_err();
    let other = Lease { payee: WalletAddress::new(0, [6; 32]), ..lease.clone() };
    assert_eq!(fault(&other, NOW), RenewalFault::Changed);
    let other = Lease { hpke_key: [0; 32], ..lease.clone() };
    assert_eq!(fault(&other, NOW), RenewalFault::Changed);
    let other = Lease { image: "another".to_owned(), ..lease.clone() };
    assert_eq!(fault(&other, NOW), RenewalFault::Changed);
    assert_eq!(fault(&lease, lease.expires), RenewalFault::Expired);
}

#[test]
fn a_full_renewal_must_be_of_the_same_machine_image_and_devices() {
    use crate::appraisal::Platform;
    let (lease, held) = leased();
    let fault = |change: fn(&mut Appraised)| {
        let mut before = held.clone();
        change(&mut before);
        let (open, challenge) = open(2);
        let attested = verify(open, &answer(&challenge)).unwrap();
        renewal::full(&lease, &before, attested, NOW).map(drop)
    };
    fn guest(appraised: &mut Appraised) -> &mut crate::verify::tdx::Claims {
        let Platform::Tdx(claims) = &mut appraised.platform else { panic!("not a TDX guest") };
        claims
    }
    assert_eq!(fault(|_| {}), Ok(()));
    let changes: [fn(&mut Appraised); 9] = [
        |held| guest(held).ppid.0[0] ^= 1,
        |held| guest(held).fmspc.0[0] ^= 1,
        |held| guest(held).mr_td.0[0] ^= 1,
        |held| guest(held).rtmr2.0[0] ^= 1,
        |held| guest(held).mr_config_id.0[0] ^= 1,
        |held| held.workload.gpu_count = 1,
        |held| held.hpke_key = [0; 32],
        |held| held.tls_spki_sha256 = Digest::from_bytes([0; 32]),
        |held| held.assurance = Assurance::Hardware,
    ];
    for change in changes {
        assert_eq!(fault(change), Err(RenewalFault::Changed));
    }
}

#[test]
fn after_a_change_of_the_policy_evidence_is_brought_again_and_the_lease_goes_on() {
    let (lease, held) = leased();
    let changed = parse(&policy_text().replace("version = 1", "version = 2"));
    let (open, challenge) = open_under(4, &changed);
    let attested = verify_at(open, &answer(&challenge), &changed, NOW).unwrap();
    let (renewed, appraised) = renewal::full(&lease, &held, attested, NOW).unwrap();
    let lease = renewed.into_lease();
    // Receipts go on to name what the lease was granted by.
    assert_eq!(lease.policy_digest, POLICY.digest());
    assert_eq!(appraised.policy_digest, changed.digest());
    let signature = signed(&EXPORTER, [1; 32], lease.lease_id);
    assert!(light(&(lease.clone(), appraised.clone()), &signature, &changed, NOW).is_ok());
    let verdict = light(&(lease, appraised), &signature, &POLICY, NOW);
    assert_eq!(verdict, Err(RenewalFault::Policy));
}
