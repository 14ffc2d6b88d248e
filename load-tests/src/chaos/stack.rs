//! A gateway and workers as real processes on loopback, in a folder of their own: started, killed and started again.
//!
//! The gateway keeps its ports across restarts; workers find it there again. Everything still running is killed when a
//! [`Stack`] is dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// What the gateway's policy says before the software TEE's own sections.
const POLICY_HEAD: &str = r#"schema = 1
version = 1
not_after = "2999-01-01T00:00:00Z"
mode = "development"
lease_seconds = 600
insecure_any_model = true
"#;

/// Where the programs under test are, and how the scripted engine paces itself.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) bin: PathBuf,
    pub(crate) tokens: u32,
    pub(crate) interval_ms: u64,
}

pub(crate) struct Stack {
    programs: Programs,
    dir: PathBuf,
    api_port: u16,
    uplink_port: u16,
    gateway: Option<Child>,
    workers: Vec<Option<Child>>,
}

impl Stack {
    /// Starts a gateway with fresh data in `dir`, and `workers` workers, each with keys of its own.
    pub(crate) async fn start(
        programs: Programs,
        dir: &Path,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let mut stack = Self {
            programs,
            dir: dir.to_owned(),
            api_port: free_port()?,
            uplink_port: free_port()?,
            gateway: None,
            workers: Vec::new(),
        };
        let tee = stack.dir.join("softtee");
        stack.command("cocoon-worker", &["soft-tee", "init", path_text(&tee)?]).await?;
        let rows = fs::read_to_string(tee.join("policy.rows.toml"))
            .context("failed to read policy.rows.toml")?;
        fs::write(stack.dir.join("policy.toml"), format!("{POLICY_HEAD}{rows}"))?;
        fs::write(stack.dir.join("gateway.toml"), stack.gateway_config())?;
        stack.start_gateway().await?;
        for index in 0..workers {
            fs::write(stack.dir.join(format!("worker-{index}.toml")), stack.worker_config(index)?)?;
            stack.workers.push(None);
            stack.start_worker(index)?;
        }
        Ok(stack)
    }

    pub(crate) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.api_port)
    }

    /// With which the gateway countersigns; it outlives the process.
    pub(crate) fn receipt_key(&self) -> anyhow::Result<[u8; 32]> {
        let endpoints = self.endpoints()?;
        let text = endpoints["receipt_key"].as_str().context("no receipt key in endpoints.json")?;
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).context("the receipt key is not hex")?;
        Ok(key)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("gateway/store.sqlite")
    }

    /// `kill -9`, then a new process on the same ports and data.
    pub(crate) async fn crash_gateway(&mut self) -> anyhow::Result<()> {
        kill(&mut self.gateway).await?;
        self.start_gateway().await
    }

    /// `kill -9`, then a new process with the same configuration.
    pub(crate) async fn crash_worker(&mut self, index: usize) -> anyhow::Result<()> {
        kill(&mut self.workers[index]).await?;
        self.start_worker(index)
    }

    /// Asks all to stop and sees that each does, cleanly and in time.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let names = (0..self.workers.len()).map(|index| format!("worker-{index}"));
        let workers = names.zip(self.workers.iter_mut());
        for (name, child) in workers.chain([("gateway".to_owned(), &mut self.gateway)]) {
            let Some(mut process) = child.take() else { continue };
            let id = process.id().context("the process ended before it was asked to")?;
            Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
            let status = timeout(Duration::from_secs(10), process.wait())
                .await
                .with_context(|| format!("{name} did not stop within 10 s"))??;
            ensure!(status.success(), "{name} stopped with {status}");
        }
        Ok(())
    }

    /// Runs one of the programs to its end and returns what it printed.
    pub(crate) async fn command(
        &self,
        program: &str,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let run = Command::new(self.programs.bin.join(program)).args(arguments).output();
        let output = timeout(Duration::from_secs(30), run)
            .await
            .with_context(|| format!("{program} {arguments:?} took over 30 s"))?
            .with_context(|| format!("failed to start {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {arguments:?} ended with {}: {text}{errors}", output.status);
        }
        Ok(text)
    }

    pub(crate) async fn gateway_command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let config = self.dir.join("gateway.toml");
        let mut all = arguments.to_vec();
        all.extend(["--config", path_text(&config)?]);
        self.command("cocoon-gateway", &all).await
    }

    async fn start_gateway(&mut self) -> anyhow::Result<()> {
        let endpoints = self.dir.join("gateway/endpoints.json");
        if endpoints.exists() {
            fs::remove_file(&endpoints)?;
        }
        let config = self.dir.join("gateway.toml");
        self.gateway = Some(self.spawn("cocoon-gateway", &config, "gateway")?);
        let limit = Instant::now() + Duration::from_secs(20);
        while !endpoints.exists() {
            ensure!(Instant::now() < limit, "the gateway was not ready within 20 s");
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn start_worker(&mut self, index: usize) -> anyhow::Result<()> {
        let config = self.dir.join(format!("worker-{index}.toml"));
        self.workers[index] =
            Some(self.spawn("cocoon-worker", &config, &format!("worker-{index}"))?);
        Ok(())
    }

    fn spawn(&self, program: &str, config: &Path, log: &str) -> anyhow::Result<Child> {
        let path = self.dir.join(format!("{log}.log"));
        let log = File::options().create(true).append(true).open(path)?;
        Command::new(self.programs.bin.join(program))
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {program}"))
    }

    fn gateway_config(&self) -> String {
        let (dir, api, uplink) = (self.dir.display(), self.api_port, self.uplink_port);
        format!(
            r#"mode = "development"
data_dir = "{dir}/gateway"
[api]
listen = "127.0.0.1:{api}"
[uplink]
listen = "127.0.0.1:{uplink}"
[admin]
listen = "127.0.0.1:0"
[auth]
domains = ["localhost"]
network = "-3"
[attestation]
policy = "{dir}/policy.toml"
unsigned_policy = true
[limits]
request_timeout_ms = 15000
[[model]]
name = "*"
prompt = 50000000
cached = 25000000
completion = 200000000
[telemetry]
"#
        )
    }

    fn endpoints(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.dir.join("gateway/endpoints.json"))?)?)
    }

    fn worker_config(&self, index: usize) -> anyhow::Result<String> {
        let endpoints = self.endpoints()?;
        let pin = endpoints["uplink_spki_sha256"].as_str().context("no pin in endpoints.json")?;
        let (dir, uplink) = (self.dir.display(), self.uplink_port);
        let (tokens, interval_ms) = (self.programs.tokens, self.programs.interval_ms);
        Ok(format!(
            r#"mode = "development"
data_dir = "{dir}/worker-{index}"
gateway = "127.0.0.1:{uplink}"
gateway_spki_sha256 = "{pin}"
payee = "0:{index:064x}"
[engine]
kind = "scripted"
tokens = {tokens}
interval_ms = {interval_ms}
first_token_ms = 20
[evidence]
kind = "software"
software_tee = "{dir}/softtee"
[telemetry]
"#
        ))
    }
}

/// SIGKILL, and the process is gone when this returns.
async fn kill(child: &mut Option<Child>) -> anyhow::Result<()> {
    let mut process = child.take().context("the process to kill does not run")?;
    ensure!(process.try_wait()?.is_none(), "the process ended before it was killed");
    process.kill().await.context("failed to kill a process")
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the state folder's path is not UTF-8")
}
