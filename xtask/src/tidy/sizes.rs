//! How long files may be, and how they may be called. Functions are clippy's part (`too_many_lines`).
//!
//! `xtask/ratchet.toml` allows single files more. It only shrinks: a file below its allowance is a finding too.

use crate::repository::Repository;

const RATCHET: &str = "xtask/ratchet.toml";

const LINES_MAX: usize = 800;
const TEST_LINES_MAX: usize = 1200;
const LIB_LINES_MAX: usize = 150;
const MAIN_LINES_MAX: usize = 100;

/// File names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] =
    ["mod.rs", "utils.rs", "util.rs", "common.rs", "types.rs", "helpers.rs"];

pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let ratchet = repository.toml(RATCHET)?;
    let allowed = |path: &str| {
        let lines = ratchet.get("lines")?.get(path)?.as_integer()?;
        usize::try_from(lines).ok()
    };
    let mut findings = Vec::new();
    for path in repository.rust_files() {
        let lines = repository.read(path)?.lines().count();
        findings.extend(size_finding(path, lines, allowed(path)));
        findings.extend(name_finding(path));
    }
    if let Some(entries) = ratchet.get("lines").and_then(toml::Value::as_table) {
        let gone = entries.keys().filter(|path| !repository.path(path).is_file());
        findings.extend(gone.map(|path| format!("{RATCHET}: {path} does not exist")));
    }
    Ok(findings)
}

fn limit(path: &str) -> usize {
    let file = path.rsplit('/').next().unwrap_or(path);
    let is_test = path.contains("/tests/") || file == "tests.rs";
    match file {
        "lib.rs" => LIB_LINES_MAX,
        "main.rs" if !is_test => MAIN_LINES_MAX,
        _ if is_test => TEST_LINES_MAX,
        _ => LINES_MAX,
    }
}

fn size_finding(path: &str, lines: usize, allowed: Option<usize>) -> Option<String> {
    let limit = limit(path);
    match allowed {
        None if lines > limit => Some(format!("{path}: {lines} lines, the limit is {limit}")),
        Some(allowed) if lines > allowed => {
            Some(format!("{path}: {lines} lines, its allowance is {allowed}"))
        }
        Some(allowed) if lines < allowed => {
            Some(format!("{path}: {lines} lines: lower its allowance in {RATCHET} from {allowed}"))
        }
        _ => None,
    }
}

fn name_finding(path: &str) -> Option<String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.trim_end_matches(".rs");
    let says_nothing = EMPTY_NAMES.contains(&file)
        || stem.starts_with("new_")
        || stem.ends_with("_v2")
        || path.contains("/utils/")
        || path.contains("/common/");
    says_nothing.then(|| format!("{path}: the name does not say what is inside (STYLE.md, 4)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_depend_on_the_kind_of_file() {
        let cases = [
            ("a/src/lib.rs", 151, None, true),
            ("a/src/lib.rs", 150, None, false),
            ("a/src/main.rs", 101, None, true),
            ("a/tests/it/main.rs", 101, None, false),
            ("a/src/b.rs", 801, None, true),
            ("a/src/b/tests.rs", 801, None, false),
            ("a/src/b.rs", 900, Some(900), false),
            ("a/src/b.rs", 901, Some(900), true),
            ("a/src/b.rs", 850, Some(900), true),
        ];
        for (path, lines, allowed, is_finding) in cases {
            assert_eq!(size_finding(path, lines, allowed).is_some(), is_finding, "{path} {lines}");
        }
    }

    #[test]
    fn empty_names_are_found() {
        assert!(name_finding("a/src/b/mod.rs").is_some());
        assert!(name_finding("a/src/manager_v2.rs").is_some());
        assert!(name_finding("a/src/model.rs").is_none());
    }
}
