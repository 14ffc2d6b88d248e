//! `cargo xtask`: the checks on this repository that no compiler makes.
//!
//! Each command prints what is wrong, one line for each finding, and ends with exit code 1 if there was any.

use std::process::ExitCode;

use anyhow::Context;

mod long;
mod openapi;
mod repository;
mod tidy;

use repository::Repository;

/// Every command with its purpose; the documentation may name no other.
const COMMANDS: [(&str, &str); 4] = [
    ("tidy", "sizes, names, words, purity, manifests, documents"),
    (
        "openapi",
        "openapi.yaml holds together, its examples are valid, docs/reference/ is up to date",
    ),
    ("docs", "renders docs/reference/ from openapi.yaml"),
    ("long", "the long forms of checks: fuzz [--seconds N] [TARGET…], mutations"),
];

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let repository = Repository::open().context("failed to list the repository's files")?;
    let findings = match command.as_str() {
        "tidy" => tidy::check(&repository)?,
        "openapi" => openapi::check(&repository)?,
        "docs" => openapi::render(&repository)?,
        "long" => long::run(&repository, &arguments)?,
        _ => {
            for (name, purpose) in COMMANDS {
                println!("cargo xtask {name:8} {purpose}");
            }
            return Ok(ExitCode::from(64));
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    println!("{command}: {} findings in {} files", findings.len(), repository.paths().len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
