//! A software TEE: evidence in the vendors' own formats, under roots of our own.
//!
//! For development. It proves that whoever enrols has a seed, and nothing about a machine. The
//! verifiers of `verify` judge it as they judge a vendor's, and nothing but the root differs, so that
//! a whole stack runs its real checks where there is no such hardware.
//!
//! Shape: a [`SoftTee`] holds the keys and makes evidence; [`Lab`] is one with a policy that admits
//! it, for tests; [`snp_key`] makes the RSA key that SEV-SNP's signer needs.
//! Invariants: everything follows from the seed, the arguments and the time; every certificate
//! carries [`LABEL`] in a name; the platform's model, the processor and the versions are fixed, so that
//! they show for what they are in every log. Exists only with the cargo feature `soft-tee`.
//! Cost, in a build for tests: a few milliseconds for each piece of evidence; the RSA key takes longer.

mod der;
mod key;
mod lab;
mod nvidia;
mod rows;
mod snp;
mod tdx;
mod x509;

use cocoon_primitives::Timestamp;

use crate::evidence::{Device, DeviceKind, Evidence, Kind, SnpEndorsements};
use crate::verify::event_log::EventLog;

pub use self::key::{SnpKeyError, snp_key};
pub use self::lab::Lab;
pub use self::snp::CHIP_ID;
pub use self::tdx::{FMSPC, PPID};

/// What every certificate of the software TEE says about itself.
pub const LABEL: &str = "SOFTWARE-TEE DEV ONLY - NOT HARDWARE";

/// Seconds before and after its making during which what is published about the platform holds.
const PUBLISHED_BEFORE: u64 = 24 * 3600;
const PUBLISHED_AFTER: u64 = 30 * 24 * 3600;

/// Whether a certificate says of itself that there is no hardware behind it. Anchors of software
/// evidence have to.
pub fn is_labelled(certificate: &[u8]) -> bool {
    certificate.windows(LABEL.len()).any(|window| window == LABEL.as_bytes())
}

/// A platform, its vendors and its guests, all of them in software.
pub struct SoftTee {
    tdx: tdx::Platform,
    snp: Option<snp::Chip>,
    nvidia: nvidia::Maker,
    published: Published,
}

/// What the vendor publishes about the platform: the best, unless a test wants something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// TDX: the status of the platform's TCB level, as Intel writes it.
    pub tcb_status: String,
    /// TDX: the advisories that apply to it.
    pub advisories: Vec<String>,
    /// The certificate of the platform's or the chip's key is revoked.
    pub is_revoked: bool,
}

impl Published {
    /// Up to date, and nothing is known against it.
    pub fn best() -> Self {
        Self { tcb_status: "UpToDate".to_owned(), advisories: Vec::new(), is_revoked: false }
    }
}

impl SoftTee {
    /// Without SEV-SNP, whose signer has an RSA key of its own.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            tdx: tdx::Platform::new(seed),
            snp: None,
            nvidia: nvidia::Maker::new(seed),
            published: Published::best(),
        }
    }

    /// With something else published about it. Its roots stay the same.
    #[must_use]
    pub fn with_published(self, published: Published) -> Self {
        Self { published, ..self }
    }

    /// With SEV-SNP too. The key is that of its signer: RSA with 2,048 bits or more, in PKCS #8.
    pub fn with_snp_key(mut self, pkcs8: &[u8]) -> Result<Self, SnpKeyError> {
        self.snp = Some(snp::Chip::new(pkcs8)?);
        Ok(self)
    }

    /// The certificate, in DER, that stands for Intel's root.
    pub fn tdx_root(&self) -> Vec<u8> {
        self.tdx.root().to_vec()
    }

    /// The certificate, in DER, that stands for AMD's signing key.
    pub fn snp_signer(&self) -> Option<Vec<u8>> {
        self.snp.as_ref().map(|chip| chip.signer().to_vec())
    }

    /// The certificate, in DER, that stands for NVIDIA's root.
    pub fn nvidia_root(&self) -> Vec<u8> {
        self.nvidia.root().to_vec()
    }

    /// A TDX guest with this image: its quote, and collateral from a day before `now` to 30 days after.
    pub fn tdx(
        &self,
        report_data: [u8; 64],
        log: &EventLog,
        image: &str,
        now: Timestamp,
    ) -> Evidence {
        Evidence {
            kind: Kind::SoftTdx,
            quote: self.tdx.quote(&report_data, &log.rtmr3(), image),
            endorsements: self.tdx.collateral(window(now), &self.published),
            event_log: log.encode(),
        }
    }

    /// An SEV-SNP guest with this image, where there is a key for it: its report, and a revocation list
    /// from a day before `now` to 30 days after.
    pub fn snp(
        &self,
        report_data: [u8; 64],
        log: &EventLog,
        image: &str,
        now: Timestamp,
    ) -> Option<Evidence> {
        let chip = self.snp.as_ref()?;
        let vcek = chip.certificate().to_vec();
        let crl = chip.revocations(window(now), &self.published);
        Some(Evidence {
            kind: Kind::SoftSnp,
            quote: chip.report(&report_data, &log.host_data(), image),
            endorsements: SnpEndorsements { vcek, crl }.encode(),
            event_log: log.encode(),
        })
    }

    /// The GPU with this number. It does not look at the time: GPUs' certificates have no end that
    /// matters.
    pub fn gpu(&self, index: u32, nonce: [u8; 32], _now: Timestamp) -> Device {
        let (report, chain) = self.nvidia.gpu(index, &nonce);
        Device { kind: DeviceKind::SoftNvidia, report, chain }
    }

    /// The sections of a policy, in TOML, that admit workers with this image and as many GPUs, and
    /// nobody else: `software`, `tdx`, `snp`, `image`, `gpu` and `machine`.
    pub fn policy_rows(&self, image: &str, gpus: u32) -> String {
        rows::of(self, image, gpus)
    }
}

impl std::fmt::Debug for SoftTee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoftTee({LABEL})")
    }
}

/// When something begins and ends to hold.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Timestamp,
    until: Timestamp,
}

fn window(now: Timestamp) -> Window {
    let now = now.as_seconds();
    Window {
        from: Timestamp::from_seconds(now.saturating_sub(PUBLISHED_BEFORE)),
        until: Timestamp::from_seconds(now.saturating_add(PUBLISHED_AFTER)),
    }
}

/// A moment in UTC, or the last one that can be written.
fn civil(at: Timestamp) -> jiff::Timestamp {
    let seconds = i64::try_from(at.as_seconds()).unwrap_or(i64::MAX).min(LAST_SECOND);
    jiff::Timestamp::from_second(seconds).expect("it lies within the calendar")
}

/// The end of the year 9999, less the offset of the westernmost time zone.
const LAST_SECOND: i64 = 253_402_207_200;

/// A register of a guest: what would be measured of this image.
fn register(image: &str, name: &str) -> [u8; 48] {
    key::digest(&[b"register", image.as_bytes(), name.as_bytes()])
}

#[cfg(test)]
mod tests;
