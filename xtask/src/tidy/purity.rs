//! The pure crates stay pure: nothing that does IO, reads a clock or draws random bytes is below them.

use crate::repository::Repository;

const PURE: [&str; 10] = [
    "cocoon-primitives",
    "cocoon-openai-wire",
    "cocoon-uplink-wire",
    "cocoon-engine-wire",
    "cocoon-ton",
    "cocoon-attest",
    "cocoon-ledger",
    "cocoon-metering",
    "cocoon-seal",
    "cocoon-fleet",
];

const IMPURE: [&str; 16] = [
    "axum",
    "async-std",
    "chrono",
    "getrandom",
    "hyper",
    "hyper-util",
    "mio",
    "openssl",
    "postgres",
    "rand",
    "reqwest",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
];

pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in PURE {
        let mut tree = tree_of(repository, package, &[])?;
        if tree.lines().any(|line| line.starts_with("ring ")) {
            // Its randomness is for signing; what is pure only verifies with it.
            tree = tree_of(repository, package, &["--prune", "ring"])?;
        }
        let lines = tree.lines().filter(|line| !is_chrono_without_clock(line));
        let names = lines.filter_map(|line| line.split(' ').next());
        let mut impure: Vec<&str> = names.filter(|name| IMPURE.contains(name)).collect();
        impure.sort_unstable();
        impure.dedup();
        findings
            .extend(impure.iter().map(|name| format!("{package} is pure and depends on {name}")));
    }
    Ok(findings)
}

fn tree_of(repository: &Repository, package: &str, more: &[&str]) -> anyhow::Result<String> {
    let arguments = ["tree", "--locked", "--package", package, "--edges", "normal"];
    let shape = ["--prefix", "none", "--format", "{p} {f}"];
    repository.cargo(&[&arguments, shape.as_slice(), more].concat())
}

/// Without the feature `now`, which `clock` brings, chrono only computes with times that it is given.
fn is_chrono_without_clock(line: &str) -> bool {
    let mut words = line.split([' ', ',']);
    words.next() == Some("chrono") && !words.any(|word| word == "now" || word == "clock")
}
