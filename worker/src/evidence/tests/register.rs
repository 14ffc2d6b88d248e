use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha384};

use super::super::rtmr::{RegisterError, measure, missing};
use super::*;

const FILE: &str = "rtmr3:sha384";

/// The register after the first events.
fn after(events: usize) -> [u8; 48] {
    log().events()[..events].iter().fold([0; 48], |register, event| {
        Sha384::new().chain_update(register).chain_update(event.digest()).finalize().into()
    })
}

#[test]
fn a_register_lacks_what_follows_its_value() {
    let log = log();
    let digests: Vec<_> = log.events().iter().map(|event| event.digest()).collect();
    for done in 0..=digests.len() {
        assert_eq!(missing(&after(done), &log), Some(digests[done..].to_vec()), "{done}");
    }
    assert_eq!(after(3), log.rtmr3());
    assert_eq!(missing(&[9; 48], &log), None);
}

/// Plays the kernel: gives the register, takes what extends it, and gives it again.
fn kernel(path: &Path, mut register: [u8; 48], extensions: usize) -> [u8; 48] {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all(&register).unwrap();
    let mut written = Vec::new();
    while written.len() < extensions * 48 {
        fs::File::open(path).unwrap().read_to_end(&mut written).unwrap();
    }
    for digest in written.chunks(48) {
        register = Sha384::new().chain_update(register).chain_update(digest).finalize().into();
    }
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all(&register).unwrap();
    register
}

#[test]
fn what_is_missing_is_extended_in_order() {
    for done in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        pipe(&path);
        let register = std::thread::scope(|scope| {
            let kernel = scope.spawn(|| kernel(&path, after(done), 3 - done));
            measure(folder.path(), &log()).unwrap();
            kernel.join().unwrap()
        });
        assert_eq!(register, log().rtmr3());
    }
}

#[test]
fn a_worker_that_starts_again_extends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), log().rtmr3()).unwrap();
    measure(folder.path(), &log()).unwrap();
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), log().rtmr3());
}

#[test]
fn what_others_measured_cannot_be_undone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    assert!(matches!(measure(folder.path(), &log()), Err(RegisterError::Read(_))));
    fs::write(&path, [7; 47]).unwrap();
    assert!(matches!(measure(folder.path(), &log()), Err(RegisterError::Form { .. })));
    fs::write(&path, [7; 49]).unwrap();
    assert!(matches!(measure(folder.path(), &log()), Err(RegisterError::Read(_))));
    fs::write(&path, [7; 48]).unwrap();
    assert!(matches!(measure(folder.path(), &log()), Err(RegisterError::Foreign)));
    // A kernel that takes the writes and does not extend.
    fs::write(&path, [0; 48]).unwrap();
    assert!(matches!(measure(folder.path(), &log()), Err(RegisterError::Foreign)));
}
