//! The long forms of checks whose short forms are in `./test`.
//!
//! `fuzz` builds a fuzzer of each decoder with the compiler's coverage counters and runs it; it needs no
//! other toolchain and no tool but a C++ compiler. `mutations` tries every byte of every sample of vendors'
//! evidence.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::repository::Repository;

/// Seconds for each target unless told otherwise.
const SECONDS: u32 = 600;

/// What libFuzzer reads: counters at each edge, and both sides of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=16";
/// Named, so that the flags above are not for build scripts too.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The check's findings.
pub(crate) fn run(repository: &Repository, arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let root = &repository.path("");
    match arguments.split_first() {
        Some((name, rest)) if name == "fuzz" => fuzz(root, rest),
        Some((name, [])) if name == "mutations" => mutations(root),
        _ => bail!("cargo xtask long fuzz [--seconds N] [TARGET…] | cargo xtask long mutations"),
    }
}

fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder);
    command
}

fn mutations(root: &Path) -> anyhow::Result<Vec<String>> {
    let status = cargo(root)
        .args(["test", "--profile", "demo", "--package", "cocoon-attest", "--test", "it"])
        .args(["mutations::", "--", "--nocapture", "--test-threads=1"])
        .env("COCOON_LONG", "1")
        .status()
        .context("failed to run cargo")?;
    Ok(if status.success() { Vec::new() } else { vec!["mutations: see above".to_owned()] })
}

fn fuzz(root: &Path, arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let (seconds, named) = match arguments {
        [flag, seconds, rest @ ..] if flag == "--seconds" => {
            (seconds.parse().context("--seconds takes a number")?, rest)
        }
        rest => (SECONDS, rest),
    };
    let built = build(root)?;
    let targets = targets(root)?;
    let unknown: Vec<_> = named.iter().filter(|name| !targets.contains(name)).collect();
    ensure!(unknown.is_empty(), "no such target: {unknown:?}");
    let chosen = targets.iter().filter(|name| named.is_empty() || named.contains(name));
    let mut findings = Vec::new();
    for target in chosen {
        let found = built.join(format!("found/{target}"));
        let artifacts = built.join(format!("artifacts/{target}/"));
        for folder in [&found, &artifacts] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("failed to make {}", folder.display()))?;
        }
        println!("== {target}, {seconds} s");
        // What is found goes to the first folder, the second is only read.
        let status = Command::new(built.join(target))
            .args([&found, &root.join("fuzz/corpus").join(target)])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}", artifacts.display()))
            .args(["-max_len=16384", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"])
            .args(["-print_final_stats=1"])
            .status()
            .with_context(|| format!("failed to run {target}"))?;
        if !status.success() {
            findings.push(format!("{target}: {status}, the input is in {}", artifacts.display()));
        }
    }
    Ok(findings)
}

/// The folder of the fuzzers.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("fuzz/libfuzzer");
    #[expect(clippy::disallowed_methods, reason = "where cargo builds is cargo's setting")]
    let target_dir = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target_dir) => PathBuf::from(target_dir).join("fuzz"),
        None => root.join("target/fuzz"),
    };
    // Not locked: its lock file follows the dependencies of the decoders' crates.
    let status = cargo(&folder)
        .args(["build", "--quiet", "--release", "--target", PLATFORM, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", COVERAGE)
        .status()
        .context("failed to run cargo")?;
    ensure!(status.success(), "the fuzzers do not build");
    Ok(target_dir.join(PLATFORM).join("release"))
}

/// The names of the fuzzers.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let path = root.join("fuzz/libfuzzer/Cargo.toml");
    let text = std::fs::read_to_string(&path).context("failed to read the fuzzers' manifest")?;
    let manifest: toml::Value = toml::from_str(&text).context("failed to read the manifest")?;
    let fuzzers = manifest.get("bin").and_then(toml::Value::as_array).context("no fuzzers")?;
    let name = |fuzzer: &toml::Value| fuzzer.get("name")?.as_str().map(str::to_owned);
    fuzzers.iter().map(|fuzzer| name(fuzzer).context("a fuzzer without a name")).collect()
}
