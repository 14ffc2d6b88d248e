//! What an evidence message proves, to anybody: gateways, clients and auditors.
//!
//! Shape: [`examine`] takes a message apart, holds its parts to their hashes, its guest and its devices
//! to their makers' keys, and its event log to the measured one; what it found is an [`Appraised`].
//! Whether that is enough is the policy's to say: [`Policy::admit`], without cryptography, so that a
//! policy that changed judges what was proved before.
//! Invariants: software's evidence is read only where the policy is a development one, allows it, and
//! names its root; every device answers the nonce of this challenge and these keys, and is there once.

mod devices;
mod guest;
mod parts;
mod roots;

pub use parts::MessageParts;
pub use roots::SoftwareRootsUsed;

use std::collections::BTreeSet;

use cocoon_primitives::{Assurance, Digest, Timestamp, WalletAddress, WorkerId};

use crate::enrol::{
    Bind, BindingFault, Keys, Refusal, SoftwareFault, UnverifiedEvidence, Workload,
    evidence_digest, gpu_nonce, proof, report_data,
};
use crate::evidence::Device;
use crate::policy::{Mode, Policy, SoftwareRoots};
use crate::receipt::worker_id;
use crate::sha256;
use crate::verify::event_log::{EventLog, GpuPolicy};
use crate::verify::{nvidia, snp, tdx};

/// Which guest this is, and in which state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    Tdx(Box<tdx::Claims>),
    Snp(Box<snp::Claims>),
}

impl Platform {
    /// `tdx` or `snp`.
    pub const fn tee(&self) -> &'static str {
        match self {
            Self::Tdx(_) => "tdx",
            Self::Snp(_) => "snp",
        }
    }

    /// Whether it is the same image on the same machine, as hardware sees that: the part of a platform that
    /// no running guest changes.
    fn is_same_guest(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tdx(one), Self::Tdx(two)) => {
                let machine = |claims: &tdx::Claims| (claims.ppid, claims.fmspc);
                let image = |claims: &tdx::Claims| {
                    [claims.mr_td, claims.rtmr0, claims.rtmr1, claims.rtmr2, claims.rtmr3]
                };
                let owner = |claims: &tdx::Claims| {
                    [claims.mr_config_id, claims.mr_owner, claims.mr_owner_config]
                };
                machine(one) == machine(two) && image(one) == image(two) && owner(one) == owner(two)
            }
            (Self::Snp(one), Self::Snp(two)) => {
                let guest = |claims: &snp::Claims| {
                    (claims.chip_id, claims.product, claims.measurement, claims.host_data)
                };
                guest(one) == guest(two)
            }
            (Self::Tdx(_), Self::Snp(_)) | (Self::Snp(_), Self::Tdx(_)) => false,
        }
    }
}

/// What one evidence message proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    /// Software as soon as a key of our own stands behind any part.
    pub assurance: Assurance,
    /// Whose signatures stood for the software's parts.
    pub software_roots: SoftwareRootsUsed,
    pub platform: Platform,
    /// GPUs and switches, in the order of the message.
    pub devices: Vec<nvidia::Claims>,
    pub workload: Workload,
    pub worker_id: WorkerId,
    pub receipt_key: [u8; 32],
    pub hpke_key: [u8; 32],
    pub tls_spki_sha256: Digest,
    pub payee: WalletAddress,
    pub evidence_digest: Digest,
    pub nonce: [u8; 32],
    /// The exporter of the connection that it was brought over, RFC 9266.
    pub exporter: [u8; 32],
    /// The gateway that asked for it.
    pub gw_spki_sha256: Digest,
    /// The policy that the worker was told.
    pub policy_digest: Digest,
    /// When the first certificate or collateral that it rests on ends.
    pub collateral_until: Timestamp,
}

impl Appraised {
    /// Whether both are of one guest with one set of keys and devices: what a renewal must not change.
    pub(crate) fn is_same_worker(&self, other: &Self) -> bool {
        let devices = |appraised: &Self| {
            let serials = appraised.devices.iter().map(|device| device.device_serial.clone());
            serials.collect::<BTreeSet<_>>()
        };
        self.platform.is_same_guest(&other.platform)
            && self.worker_id == other.worker_id
            && self.hpke_key == other.hpke_key
            && self.tls_spki_sha256 == other.tls_spki_sha256
            && self.assurance == other.assurance
            && self.workload.gpu_count == other.workload.gpu_count
            && devices(self) == devices(other)
    }
}

/// Everything that anybody can check of a message without having been on the connection.
pub fn examine(message: &[u8], policy: &Policy, now: Timestamp) -> Result<Appraised, Refusal> {
    let unverified = UnverifiedEvidence::decode(message)?;
    let bound = unbind(&unverified)?;
    judge(&unverified, bound, evidence_digest(message), policy, now)
}

/// The parts of a message that hang together by their hashes, not yet by anybody's key.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) bind: Bind,
    pub(crate) keys: Keys,
    h_keys: [u8; 32],
}

/// Holds the parts of a message to the hashes that its binding names.
pub(crate) fn unbind(message: &UnverifiedEvidence) -> Result<Bound, Refusal> {
    let bind = Bind::decode(&message.bind)?;
    let h_keys = sha256(&[&message.keys]);
    let checks = [
        (bind.h_keys == h_keys, BindingFault::Keys),
        (bind.h_dev == sha256(&[&message.dev]), BindingFault::Devices),
        (bind.h_wl == sha256(&[&message.wl]), BindingFault::Workload),
    ];
    if let Some((_, fault)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Err(Refusal::Binding(fault));
    }
    let keys = Keys::decode(&message.keys)?;
    Ok(Bound { bind, keys, h_keys })
}

/// Leads every part to its maker's key.
pub(crate) fn judge(
    message: &UnverifiedEvidence,
    bound: Bound,
    evidence_digest: Digest,
    policy: &Policy,
    now: Timestamp,
) -> Result<Appraised, Refusal> {
    let Bound { bind, keys, h_keys } = bound;
    if !proof::holds(&keys.receipt_key, &message.bind, &message.receipt_key_proof) {
        return Err(Refusal::ReceiptKey);
    }
    let workload = Workload::decode(&message.wl)?;
    let unverified_devices = Device::decode_list(&message.dev)?;
    let is_software = message.evidence.kind.is_software()
        || unverified_devices.iter().any(|device| device.kind.is_software());
    if is_software {
        software_allowed(policy).map_err(Refusal::Software)?;
    }
    let log = EventLog::decode(&message.evidence.event_log).map_err(Refusal::EventLog)?;
    let guest = guest::judge(&message.evidence, &log, &report_data(&message.bind), policy, now)?;
    log.check(&manifests(&workload), gpus(&workload)).map_err(Refusal::EventLog)?;
    let nonce = gpu_nonce(&bind.nonce, &h_keys);
    let devices = devices::judge(&unverified_devices, workload.gpu_count, &nonce, policy, now)?;
    Ok(Appraised {
        assurance: if is_software { Assurance::Software } else { Assurance::Hardware },
        software_roots: SoftwareRootsUsed::of(message.evidence.kind, &unverified_devices, policy),
        platform: guest.platform,
        devices,
        workload,
        worker_id: worker_id(&keys.receipt_key),
        receipt_key: keys.receipt_key,
        hpke_key: keys.hpke_key,
        tls_spki_sha256: Digest::from_bytes(sha256(&[&keys.tls_spki])),
        payee: keys.payee,
        evidence_digest,
        nonce: bind.nonce,
        exporter: bind.exporter,
        gw_spki_sha256: bind.gw_spki_sha256,
        policy_digest: bind.policy_digest,
        collateral_until: guest.until,
    })
}

/// Whether evidence of any soft kind may be looked at.
pub(crate) fn software_allowed(policy: &Policy) -> Result<&SoftwareRoots, SoftwareFault> {
    if policy.mode() == Mode::Production {
        return Err(SoftwareFault::Production);
    }
    if !cfg!(feature = "soft-tee") {
        return Err(SoftwareFault::NotBuilt);
    }
    policy.software().ok_or(SoftwareFault::NotAllowed)
}

fn manifests(workload: &Workload) -> Vec<[u8; 32]> {
    workload.models.iter().map(|model| *model.manifest_digest.as_bytes()).collect()
}

const fn gpus(workload: &Workload) -> GpuPolicy {
    GpuPolicy { gpu_count: workload.gpu_count, cc_on: workload.cc_on, devtools: workload.devtools }
}
