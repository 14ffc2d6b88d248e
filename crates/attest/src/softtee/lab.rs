//! A software TEE with a policy that admits it: what tests start from.

use cocoon_primitives::Timestamp;

use super::{Published, SoftTee, snp_key};
use crate::enrol::{Challenge, Claim};
use crate::evidence::{Device, Evidence};
use crate::policy::Policy;
use crate::verify::event_log::{EventLog, GpuPolicy};

/// The image that a lab's guests boot.
const IMAGE: &str = "lab";

/// Before the first section of a lab's policy; the least of what must be there.
const HEAD: &str = "schema = 1\nversion = 1\nnot_after = \"2049-12-31T00:00:00Z\"\n\
                    mode = \"development\"\nlease_seconds = 600\n";

/// A software TEE and the policy that admits it. Without GPUs, and a TDX platform, unless asked.
#[derive(Debug)]
pub struct Lab {
    tee: SoftTee,
    gpus: u32,
    guests: Guests,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guests {
    Tdx,
    Snp,
}

impl Lab {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { tee: SoftTee::from_seed(&seed), gpus: 0, guests: Guests::Tdx }
    }

    /// With an SEV-SNP platform; its signer's key is made from `seed`, which takes a moment.
    #[must_use]
    pub fn with_snp(self, seed: [u8; 32]) -> Self {
        let tee = self.tee.with_snp_key(&snp_key(&seed)).expect("a key that was just made");
        Self { tee, guests: Guests::Snp, ..self }
    }

    /// With this many GPUs in each guest.
    #[must_use]
    pub fn with_gpus(self, gpus: u32) -> Self {
        Self { gpus, ..self }
    }

    /// With something else published about its platform.
    #[must_use]
    pub fn with_published(self, published: Published) -> Self {
        Self { tee: self.tee.with_published(published), ..self }
    }

    pub fn soft_tee(&self) -> &SoftTee {
        &self.tee
    }

    /// What its guests call their image.
    pub const fn image(&self) -> &'static str {
        IMAGE
    }

    /// A policy, version 1, that admits this lab with these models: name, and digest of the manifest
    /// in hex. It is text, so that a test can change a line.
    pub fn policy_toml(&self, models: &[(&str, &str)]) -> String {
        let mut out = HEAD.to_owned();
        out.push_str(&self.tee.policy_rows(IMAGE, self.gpus));
        for (name, manifest) in models {
            out.push_str(&format!("\n[[model]]\nname = \"{name}\"\nmanifest = \"{manifest}\"\n"));
        }
        out
    }

    /// The same for any model.
    pub fn policy_toml_for_any_model(&self) -> String {
        let rows = self.tee.policy_rows(IMAGE, self.gpus);
        format!("{HEAD}insecure_any_model = true\n{rows}")
    }

    pub fn policy(&self, models: &[(&str, &str)]) -> Policy {
        parse(&self.policy_toml(models))
    }

    pub fn policy_for_any_model(&self) -> Policy {
        parse(&self.policy_toml_for_any_model())
    }

    /// The evidence of one of its guests.
    pub fn evidence(&self, report_data: [u8; 64], log: &EventLog, now: Timestamp) -> Evidence {
        match self.guests {
            Guests::Tdx => self.tee.tdx(report_data, log, IMAGE, now),
            Guests::Snp => {
                self.tee.snp(report_data, log, IMAGE, now).expect("the lab was made with a key")
            }
        }
    }

    /// The evidence of one of its guests' GPUs.
    pub fn devices(&self, nonce: [u8; 32], now: Timestamp) -> Vec<Device> {
        (0..self.gpus).map(|index| self.tee.gpu(index, nonce, now)).collect()
    }

    /// The whole evidence message by which a guest of this lab answers a challenge. The workload says
    /// how many GPUs it has; the lab's policy expects its own number.
    pub fn answer(&self, challenge: &Challenge, claim: &Claim<'_>, now: Timestamp) -> Vec<u8> {
        let workload = claim.workload;
        let manifests: Vec<[u8; 32]> =
            workload.models.iter().map(|model| *model.manifest_digest.as_bytes()).collect();
        let gpus = GpuPolicy {
            gpu_count: workload.gpu_count,
            cc_on: workload.cc_on,
            devtools: workload.devtools,
        };
        let log = EventLog::of_worker(&manifests, gpus).expect("a workload has at most 64 models");
        let devices = self.devices(challenge.gpu_nonce(claim), now);
        let prepared = challenge.prepare(claim, &devices);
        let evidence = self.evidence(prepared.report_data(), &log, now);
        prepared.finish(evidence)
    }
}

fn parse(toml: &str) -> Policy {
    Policy::parse(toml.as_bytes()).expect("a lab writes policies that hold together")
}

#[cfg(test)]
mod tests;
