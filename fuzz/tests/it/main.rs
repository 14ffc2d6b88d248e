//! Every target on arbitrary bytes, on damaged seeds, and on the corpus that is kept: what a fuzzer would do
//! for longer.

use std::path::Path;

use cocoon_fuzz::mutate::Random;
use cocoon_fuzz::{TARGETS, seeds};
use proptest::prelude::*;

/// Damaged inputs for each target.
const CHANGES: usize = 300;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn arbitrary_bytes_never_panic() {
    for (name, target) in TARGETS {
        proptest!(ProptestConfig::with_cases(48), |(bytes in prop::collection::vec(any::<u8>(), 0..600))| {
            eprintln!("{name}");
            target(&bytes);
        });
    }
}

#[test]
fn damaged_seeds_never_panic() {
    let seeds = seeds::all();
    for (number, (name, target)) in (0..).zip(TARGETS) {
        let own: Vec<_> =
            seeds.iter().filter(|(of, _)| *of == name).map(|(_, seed)| seed.as_slice()).collect();
        let own = if own.is_empty() { vec![&[][..]] } else { own };
        let mut random = Random::seeded(number);
        for seed in &own {
            target(seed);
        }
        for _ in 0..CHANGES {
            let seed = own[random.below(own.len())];
            let other = own[random.below(own.len())];
            target(&random.changed(seed, other));
        }
    }
}

#[test]
fn names_are_different() {
    let names: std::collections::BTreeSet<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), TARGETS.len());
    assert!(seeds::all().iter().all(|(name, _)| names.contains(name)));
}

#[test]
fn each_target_has_a_fuzzer() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/Cargo.toml");
    let manifest = std::fs::read_to_string(path).unwrap();
    let fuzzers: Vec<_> =
        manifest.split("[[bin]]").skip(1).map(|fuzzer| fuzzer.split('"').nth(1).unwrap()).collect();
    assert_eq!(fuzzers, TARGETS.map(|(name, _)| name));
}

/// Whoever changes a format writes the corpus again: `cargo run -p cocoon-fuzz --features soft-tee`.
#[cfg(feature = "soft-tee")]
#[test]
fn the_corpus_is_what_our_code_makes() {
    let seeds = seeds::all();
    for (name, target) in TARGETS {
        assert!(seeds.iter().any(|(of, _)| *of == name), "{name} has no seed");
        let kept = std::fs::read_dir(corpus().join(name)).map(Iterator::count).unwrap_or_default();
        assert!((1..=20).contains(&kept), "{name} has {kept} files");
        for file in std::fs::read_dir(corpus().join(name)).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(bytes.len() <= seeds::SEED_BYTES_MAX, "{name} has a long file");
            target(&bytes);
        }
    }
}
