//! Every member inherits the workspace's lints and edition, and names no version of its own.

use crate::repository::Repository;

const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for (folder, name) in repository.members()? {
        let path = format!("{folder}/Cargo.toml");
        let manifest = repository.toml(&path)?;
        if !inherits(manifest.get("lints")) {
            findings.push(format!("{path}: it does not inherit the workspace's lints"));
        }
        for field in ["edition", "rust-version", "license", "publish"] {
            if !inherits(manifest.get("package").and_then(|package| package.get(field))) {
                findings.push(format!("{path}: package.{field} is not the workspace's"));
            }
        }
        for section in DEPENDENCIES {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            let own = table.iter().filter(|(_, dependency)| !inherits(Some(dependency)));
            findings.extend(own.map(|(dependency, _)| {
                format!("{path}: {name} names its own version of {dependency}")
            }));
        }
    }
    Ok(findings)
}

fn inherits(value: Option<&toml::Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}
