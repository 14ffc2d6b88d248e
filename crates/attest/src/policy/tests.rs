//! One case per mistake in a file, per signature that does not count, and per reason for refusal.

#[cfg(feature = "soft-tee")]
mod admit;
mod file;
mod signed;

use super::*;

/// A policy for hardware with one row of each kind. Its digests are made up.
fn production() -> String {
    let (h48, h64) = ("ab".repeat(48), "ab".repeat(64));
    format!(
        r#"schema = 1
version = 7
not_after = "2027-02-01T00:00:00Z"
mode = "production"
lease_seconds = 300
full_renewal_seconds = 1800
on_revocation = "cut"
machine_level = 2

[tdx]
tcb_status = ["UpToDate", "SWHardeningNeeded"]
min_tcb_eval = 20
platform_grace_days = 30
allow_dynamic_platform = true
td_attributes = "0000001000000000"
xfam = ["e702060000000000"]
mr_seam = ["{h48}"]
denied_advisories = ["INTEL-SA-00001"]

[snp]
products = ["Genoa", "Turin"]
min_tcb.Genoa = {{ bl = 7, tee = 0, snp = 14, ucode = 72 }}
min_tcb.Turin = {{ fmc = 1, bl = 1, tee = 1, snp = 4, ucode = 82 }}

[[image]]
name = "worker-tdx"
tee = "tdx"
gpus = 1
mrtd = "{h48}"
rtmr0 = "{h48}"
rtmr1 = "{h48}"
rtmr2 = "{h48}"
source = "https://example.org/worker"

[[image]]
name = "worker-snp"
tee = "snp"
gpus = 1
measurement = "{h48}"

[[gpu]]
arch = "HOPPER"
drivers = ["580.95.05"]
vbios = ["96.00.74.00.1a"]
mode = ["SPT"]
golden = {{ 0 = ["{h48}"] }}

[[model]]
name = "qwen3-32b"
manifest = "sha256:{digest}"
engine = "mistral.rs"

[[machine]]
ppid = "{h16}"
level = 2
not_after = "2026-12-31T00:00:00Z"

[[machine]]
chip_id = "{h64}"
level = 3

[revoked]
hwid = ["{other16}"]
gpu_serial = ["0A0B"]
image = ["worker-old"]
model = ["bad-model", "sha256:{digest}"]
worker = ["wrk_{digest}"]
"#,
        digest = "cd".repeat(32),
        h16 = "ab".repeat(16),
        other16 = "cd".repeat(16),
    )
}
