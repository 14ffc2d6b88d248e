//! Files on a disk: what becomes the policy, and what never does.

use std::path::Path;

use cocoon_attest::policy::{Mode, OnRevocation, SignatureFile, signed_hash};
use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn text(version: u64, more: &str) -> String {
    format!(
        "schema = 1\nversion = {version}\nnot_after = \"2999-01-01T00:00:00Z\"\n\
         mode = \"development\"\n{more}\n"
    )
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn unsigned(folder: &Path) -> PolicySource {
    let path = folder.join("policy.toml");
    PolicySource { path, trust: PolicyTrust::Unsigned, mode: Mode::Development }
}

/// Two of three keys.
fn signed(folder: &Path) -> PolicySource {
    let keys = [1, 2, 3].map(|n| key(n).verifying_key().to_bytes()).to_vec();
    PolicySource { trust: PolicyTrust::Signed { keys, threshold: 2 }, ..unsigned(folder) }
}

fn put(folder: &Path, text: &str) {
    std::fs::write(folder.join("policy.toml"), text).unwrap();
}

fn sign(folder: &Path, text: &str, keys: &[u8]) {
    let mut file = SignatureFile::default();
    for n in keys {
        let signature = key(*n).sign(&signed_hash(text.as_bytes()));
        file.set(key(*n).verifying_key().to_bytes(), signature.to_bytes());
    }
    std::fs::write(folder.join("policy.toml.sig"), file.to_json()).unwrap();
}

fn open(source: PolicySource, folder: &Path) -> Result<Arc<PolicyStore>, Refused> {
    PolicyStore::open(source, folder, NOW)
}

/// The codes of the mistakes in the file itself.
fn codes(refused: &Refused) -> Vec<&'static str> {
    let code = |problem: &PolicyProblem| match problem {
        PolicyProblem::Policy(error) => error.code(),
        other => panic!("{other}"),
    };
    refused.0.iter().map(code).collect()
}

#[test]
fn a_new_file_is_in_force_and_told_to_subscribers() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &text(1, ""));
    let store = open(unsigned(folder.path()), folder.path()).unwrap();
    let first = store.in_force();
    let mut changes = store.subscribe();
    assert!(store.reload(NOW).unwrap().is_none(), "nothing changed");
    assert!(!changes.has_changed().unwrap());
    put(folder.path(), &text(2, "on_revocation = \"cut\""));
    let second = store.reload(NOW).unwrap().expect("a new policy");
    assert_eq!(second.policy.on_revocation(), OnRevocation::Cut);
    assert_ne!(second.digest(), first.digest());
    assert!(changes.has_changed().unwrap());
    assert!(Arc::ptr_eq(&changes.borrow_and_update(), &store.in_force()));
    assert_eq!(second.text, text(2, "on_revocation = \"cut\"").into_bytes());
}

#[test]
fn a_rollback_is_refused_at_reload_and_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &text(7, ""));
    let store = open(unsigned(folder.path()), folder.path()).unwrap();
    put(folder.path(), &text(6, ""));
    let refused = store.reload(NOW).unwrap_err();
    assert_eq!(codes(&refused), ["policy_rollback"]);
    assert_eq!(store.in_force().policy.version(), 7);
    drop(store);
    let refused = open(unsigned(folder.path()), folder.path()).unwrap_err();
    assert_eq!(codes(&refused), ["policy_rollback"]);
    // The same version with other contents is a rollback that only looks like none.
    put(folder.path(), &text(7, "lease_seconds = 60"));
    let refused = open(unsigned(folder.path()), folder.path()).unwrap_err();
    assert_eq!(codes(&refused), ["policy_same_version"]);
    put(folder.path(), &text(7, ""));
    open(unsigned(folder.path()), folder.path()).unwrap();
}

#[test]
fn what_was_seen_and_cannot_be_read_is_not_taken_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &text(1, ""));
    std::fs::write(folder.path().join("policy.seen"), "{}").unwrap();
    let refused = open(unsigned(folder.path()), folder.path()).unwrap_err();
    assert!(matches!(refused.0[..], [PolicyProblem::SeenMalformed { .. }]), "{refused}");
}

#[test]
fn a_policy_needs_its_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let one = text(1, "");
    put(folder.path(), &one);
    let unsigned = open(signed(folder.path()), folder.path()).unwrap_err();
    assert!(matches!(unsigned.0[..], [PolicyProblem::Read { .. }]), "{unsigned}");
    sign(folder.path(), &one, &[1]);
    let refused = open(signed(folder.path()), folder.path()).unwrap_err();
    assert_eq!(codes(&refused), ["policy_signatures"]);
    sign(folder.path(), &one, &[1, 9]);
    let refused = open(signed(folder.path()), folder.path()).unwrap_err();
    assert_eq!(codes(&refused), ["policy_signatures"], "a stranger's signature counts for nothing");
    sign(folder.path(), &one, &[1, 3]);
    let store = open(signed(folder.path()), folder.path()).unwrap();
    // A file that was changed under its signatures stays without effect until it is signed.
    let two = text(2, "");
    put(folder.path(), &two);
    assert_eq!(codes(&store.reload(NOW).unwrap_err()), ["policy_signatures"]);
    assert_eq!(store.in_force().policy.version(), 1);
    sign(folder.path(), &two, &[2, 3]);
    assert_eq!(store.reload(NOW).unwrap().expect("signed").policy.version(), 2);
    let signatures = std::fs::read(folder.path().join("policy.toml.sig")).unwrap();
    assert_eq!(store.in_force().signatures, signatures);
}

#[test]
fn a_bad_file_is_told_once_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &text(1, ""));
    let store = open(unsigned(folder.path()), folder.path()).unwrap();
    put(folder.path(), &text(2, "lease_seconds = 601\nfull_renewal_seconds = 1"));
    let refused = store.reload(NOW).unwrap_err();
    assert_eq!(codes(&refused), ["policy_field", "policy_field"], "every reason is told");
    assert!(store.reload(NOW).unwrap().is_none(), "and told once");
    std::fs::remove_file(folder.path().join("policy.toml")).unwrap();
    assert!(matches!(store.reload(NOW).unwrap_err().0[..], [PolicyProblem::Read { .. }]));
    assert!(store.reload(NOW).unwrap().is_none());
    put(folder.path(), &text(2, "").replace("development", "production"));
    assert!(matches!(store.reload(NOW).unwrap_err().0[..], [PolicyProblem::Mode]));
    put(folder.path(), &text(2, "").replace("2999", "1999"));
    assert_eq!(codes(&store.reload(NOW).unwrap_err()), ["policy_expired"]);
    assert_eq!(store.in_force().policy.version(), 1);
    put(folder.path(), &text(2, ""));
    assert!(store.reload(NOW).unwrap().is_some(), "a good one comes after them");
}

#[test]
fn a_version_that_could_not_be_kept_is_not_in_force_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &text(1, ""));
    let store = open(unsigned(folder.path()), folder.path()).unwrap();
    put(folder.path(), &text(2, ""));
    // A folder stands where the new file would be written.
    let beside = folder.path().join("policy.seen.tmp");
    std::fs::create_dir(&beside).unwrap();
    let refused = store.reload(NOW).unwrap_err();
    assert!(matches!(refused.0[..], [PolicyProblem::SeenWrite { .. }]), "{refused}");
    assert_eq!(store.in_force().policy.version(), 1);
    std::fs::remove_dir(&beside).unwrap();
    assert!(store.reload(NOW).unwrap().is_some());
}

#[test]
fn production_takes_no_policy_that_ends_more_than_two_weeks_from_now() {
    let folder = tempfile::tempdir().unwrap();
    let source = PolicySource { mode: Mode::Production, ..signed(folder.path()) };
    let day = |days: u64| {
        let at = i64::try_from(NOW.as_seconds() + days * 24 * 3600).unwrap();
        jiff::Timestamp::from_second(at).unwrap().to_string()
    };
    let write = |version: u64, days: u64| {
        let text = text(version, "").replace("development", "production");
        let text = text.replace("2999-01-01T00:00:00Z", &day(days));
        put(folder.path(), &text);
        sign(folder.path(), &text, &[1, 2]);
    };
    write(1, 15);
    let refused = open(source.clone(), folder.path()).unwrap_err();
    assert!(matches!(refused.0[..], [PolicyProblem::EndsLate]), "{refused}");
    write(1, 14);
    let store = open(source, folder.path()).unwrap();
    write(2, 15);
    let refused = store.reload(NOW).unwrap_err();
    assert!(matches!(refused.0[..], [PolicyProblem::EndsLate]), "{refused}");
    assert!(store.reload(NOW).unwrap().is_none(), "and told once");
    assert_eq!(store.in_force().policy.version(), 1);
    // Its time comes.
    let tomorrow = NOW.saturating_add(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(store.reload(tomorrow).unwrap().expect("good now").policy.version(), 2);
}
