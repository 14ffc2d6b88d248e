//! The pure crates stay pure: nothing that does IO, reads a clock or draws random bytes is below them.

use crate::repository::Repository;

const PURE: [&str; 9] = [
    "cocoon-primitives",
    "cocoon-openai-wire",
    "cocoon-uplink-wire",
    "cocoon-engine-wire",
    "cocoon-ton",
    "cocoon-attest",
    "cocoon-ledger",
    "cocoon-metering",
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
        let arguments = [
            "tree",
            "--locked",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ];
        let tree = repository.cargo(&arguments)?;
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        let mut impure: Vec<&str> = names.filter(|name| IMPURE.contains(name)).collect();
        impure.sort_unstable();
        impure.dedup();
        findings
            .extend(impure.iter().map(|name| format!("{package} is pure and depends on {name}")));
    }
    Ok(findings)
}
