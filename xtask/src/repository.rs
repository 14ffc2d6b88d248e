//! The repository as the checks see it: the files that git tracks or would track.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

pub(crate) struct Repository {
    root: PathBuf,
    paths: Vec<String>,
}

impl Repository {
    pub(crate) fn open() -> anyhow::Result<Self> {
        // Of the folder it is run in: builds of several clones may share this program.
        let root = run(Path::new("."), "git", &["rev-parse", "--show-toplevel"])?;
        let root = PathBuf::from(root.trim_end());
        let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let mut paths: Vec<String> =
            run(&root, "git", &arguments)?.lines().map(str::to_owned).collect();
        paths.retain(|path| root.join(path).is_file());
        paths.sort();
        paths.dedup();
        Ok(Self { root, paths })
    }

    /// Relative to the root, sorted.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    pub(crate) fn rust_files(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str).filter(|path| path.ends_with(".rs"))
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.path(relative))
            .with_context(|| format!("failed to read {relative}"))
    }

    /// `None` for files that are not text.
    pub(crate) fn text(&self, relative: &str) -> Option<String> {
        std::fs::read_to_string(self.path(relative)).ok()
    }

    pub(crate) fn toml(&self, relative: &str) -> anyhow::Result<toml::Table> {
        self.read(relative)?.parse().with_context(|| format!("failed to read {relative}"))
    }

    pub(crate) fn cargo(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(&self.root, "cargo", arguments)
    }

    /// The folders of the workspace's members, with the names of their packages.
    pub(crate) fn members(&self) -> anyhow::Result<Vec<(String, String)>> {
        let manifests = self.paths.iter().filter_map(|path| path.strip_suffix("/Cargo.toml"));
        let mut members = Vec::new();
        for folder in manifests {
            let manifest = self.toml(&format!("{folder}/Cargo.toml"))?;
            if manifest.contains_key("workspace") {
                // A workspace of its own.
                continue;
            }
            let name = manifest.get("package").and_then(|package| package.get("name"));
            let name = name.and_then(toml::Value::as_str);
            let name = name.with_context(|| format!("{folder} has no package name"))?;
            members.push((folder.to_owned(), name.to_owned()));
        }
        Ok(members)
    }
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .with_context(|| format!("failed to start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?} failed: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
