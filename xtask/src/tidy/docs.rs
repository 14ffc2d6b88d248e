//! Documents that stay true: links lead somewhere, ARCHITECTURE.md knows every folder and crate, README's commands exist.

use std::collections::BTreeSet;
use std::path::Path;

use crate::COMMANDS;
use crate::repository::Repository;

const ARCHITECTURE_LINES_MAX: usize = 250;

pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let mut findings = architecture_findings(repository)?;
    for path in repository.paths().iter().filter(|path| path.ends_with(".md")) {
        let text = repository.read(path)?;
        findings.extend(link_findings(repository, path, &text));
        findings.extend(command_findings(repository, path, &text)?);
    }
    Ok(findings)
}

fn architecture_findings(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let text = repository.read("ARCHITECTURE.md")?;
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > ARCHITECTURE_LINES_MAX {
        findings
            .push(format!("ARCHITECTURE.md: {lines} lines, the limit is {ARCHITECTURE_LINES_MAX}"));
    }
    let folders = repository.paths().iter().filter_map(|path| path.split_once('/'));
    let folders: BTreeSet<&str> =
        folders.map(|(top, _)| top).filter(|top| !top.starts_with('.')).collect();
    let members = repository.members()?;
    let expected = folders
        .into_iter()
        .map(|folder| format!("{folder}/"))
        .chain(members.into_iter().map(|(folder, _)| folder));
    for name in expected {
        if !text.contains(&format!("`{name}")) {
            findings.push(format!("ARCHITECTURE.md: `{name}` is not described"));
        }
    }
    Ok(findings)
}

fn link_findings(repository: &Repository, path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = link.split('#').next().unwrap_or_default();
        let is_elsewhere =
            target.is_empty() || target.contains("://") || target.starts_with("mailto:");
        let exists = repository.path(&folder.join(target).to_string_lossy()).exists();
        if !is_elsewhere && !exists {
            findings.push(format!("{path}: the link to {link} leads nowhere"));
        }
    }
    findings
}

/// Each line that starts with one of our commands, in text or code, names things that exist.
fn command_findings(
    repository: &Repository,
    path: &str,
    text: &str,
) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for span in text.split(['`', '\n']).map(str::trim) {
        let words: Vec<&str> = span.split_whitespace().collect();
        match words.as_slice() {
            [script @ ("./run" | "./test"), rest @ ..] => {
                let source = repository.read(script.trim_start_matches("./"))?;
                let flags = rest.iter().filter(|word| word.starts_with("--"));
                let unknown = flags.filter(|flag| !source.contains(**flag));
                findings.extend(unknown.map(|flag| format!("{path}: {script} has no {flag}")));
            }
            ["cargo", "xtask", command, ..] if COMMANDS.iter().all(|(name, _)| name != command) => {
                findings.push(format!("{path}: there is no cargo xtask {command}"));
            }
            _ => {}
        }
    }
    Ok(findings)
}
