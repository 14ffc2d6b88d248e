//! `cargo xtask tidy`: the rules of STYLE.md and ARCHITECTURE.md that can be read off the files.

use crate::repository::Repository;

mod docs;
mod manifests;
mod purity;
mod sizes;
mod words;

/// Findings, one line each.
pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let mut findings = sizes::check(repository)?;
    findings.extend(words::check(repository));
    findings.extend(manifests::check(repository)?);
    findings.extend(purity::check(repository)?);
    findings.extend(docs::check(repository)?);
    Ok(findings)
}
