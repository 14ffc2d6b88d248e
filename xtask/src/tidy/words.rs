//! Words that no tracked file may hold: folders of one machine, hosts of package registries, unfinished work.

use crate::repository::Repository;

/// Written in two halves, so that this file does not find itself.
const EVERYWHERE: [(&str, &str); 9] = [
    (concat!("/wo", "rk/"), "a folder of one machine"),
    (concat!("/ro", "ot/"), "a folder of one machine"),
    (concat!("/far", "m/"), "a folder of one machine"),
    (concat!("/home", "/"), "a folder of one machine"),
    (concat!("static.", "crates."), "a registry's host"),
    (concat!("index.", "crates."), "a registry's host"),
    (concat!("registry.", "npmjs"), "a registry's host"),
    (concat!("python", "hosted"), "a registry's host"),
    (concat!("deb.", "debian"), "a registry's host"),
];

const IN_CODE: [(&str, &str); 4] = [
    (concat!("TO", "DO"), "unfinished work"),
    (concat!("FIX", "ME"), "unfinished work"),
    (concat!("XX", "X:"), "unfinished work"),
    (concat!("#[igno", "re"), "a test that does not run"),
];

const CODE: [&str; 8] = ["rs", "toml", "py", "sh", "ts", "js", "sql", "yaml"];

pub(crate) fn check(repository: &Repository) -> Vec<String> {
    let mut findings = Vec::new();
    for path in repository.paths() {
        if path.ends_with("Cargo.lock") {
            continue;
        }
        let Some(text) = repository.text(path) else { continue };
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        let is_code = CODE.contains(&extension) || text.starts_with("#!");
        for (number, line) in text.lines().enumerate() {
            let in_code = IN_CODE.iter().filter(|_| is_code);
            for (word, what) in EVERYWHERE.iter().chain(in_code) {
                if line.contains(word) {
                    findings.push(format!("{path}:{}: {what}: {word}", number + 1));
                }
            }
        }
    }
    findings
}
