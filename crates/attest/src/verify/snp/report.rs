//! The attestation report of an SEV-SNP guest, as its 1184 bytes.
//!
//! Source: AMD publication 56860, "SEV Secure Nested Paging Firmware ABI Specification", table
//! ATTESTATION_REPORT; all numbers are little-endian.
//! Invariants: the signature covers the first 672 bytes; what stands behind it and within the fields
//! of `r` and `s` beyond a number of 48 bytes is zero, or the report is refused as malformed.

/// Every version of the report has this length.
pub const REPORT_BYTES: usize = 1184;

const SIGNED_BYTES: usize = 0x2a0;
/// `r` and `s` have 72 bytes each, of which P-384 uses 48.
const NUMBER_FIELD: usize = 72;
const NUMBER: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a report has 1184 bytes")]
    Length,
    #[error("bytes that nothing signs are not zero")]
    Padding,
}

#[derive(Debug)]
pub(super) struct Report<'a>(&'a [u8; REPORT_BYTES]);

impl<'a> Report<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let report: &[u8; REPORT_BYTES] = bytes.try_into().map_err(|_| Malformed::Length)?;
        let unsigned = &report[SIGNED_BYTES..];
        let (r, rest) = unsigned.split_at(NUMBER_FIELD);
        let (s, behind) = rest.split_at(NUMBER_FIELD);
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if zero(&r[NUMBER..]) && zero(&s[NUMBER..]) && zero(behind) {
            Ok(Self(report))
        } else {
            Err(Malformed::Padding)
        }
    }

    pub(super) fn signed(&self) -> &'a [u8] {
        &self.0[..SIGNED_BYTES]
    }

    /// `r ‖ s`, the most significant byte first.
    pub(super) fn signature(&self) -> [u8; 2 * NUMBER] {
        let mut signature = [0; 2 * NUMBER];
        let (r, s) = signature.split_at_mut(NUMBER);
        r.copy_from_slice(&self.field::<NUMBER>(SIGNED_BYTES));
        s.copy_from_slice(&self.field::<NUMBER>(SIGNED_BYTES + NUMBER_FIELD));
        r.reverse();
        s.reverse();
        signature
    }

    pub(super) fn version(&self) -> u32 {
        self.number(0x00)
    }

    pub(super) fn guest_svn(&self) -> u32 {
        self.number(0x04)
    }

    pub(super) fn policy(&self) -> u64 {
        u64::from_le_bytes(self.field(0x08))
    }

    pub(super) fn family_id(&self) -> [u8; 16] {
        self.field(0x10)
    }

    pub(super) fn image_id(&self) -> [u8; 16] {
        self.field(0x20)
    }

    pub(super) fn vmpl(&self) -> u32 {
        self.number(0x30)
    }

    /// 1 is ECDSA on P-384 with SHA-384, and the only one there is.
    pub(super) fn signature_algorithm(&self) -> u32 {
        self.number(0x34)
    }

    pub(super) fn platform_info(&self) -> u64 {
        u64::from_le_bytes(self.field(0x40))
    }

    /// Which key signed: 0 the chip's (VCEK), 1 the operator's (VLEK), 7 none.
    pub(super) fn signing_key(&self) -> u32 {
        self.number(0x48) >> 2 & 0b111
    }

    pub(super) fn report_data(&self) -> [u8; 64] {
        self.field(0x50)
    }

    pub(super) fn measurement(&self) -> [u8; 48] {
        self.field(0x90)
    }

    pub(super) fn host_data(&self) -> [u8; 32] {
        self.field(0xc0)
    }

    pub(super) fn id_key_digest(&self) -> [u8; 48] {
        self.field(0xe0)
    }

    pub(super) fn author_key_digest(&self) -> [u8; 48] {
        self.field(0x110)
    }

    pub(super) fn current_tcb(&self) -> [u8; 8] {
        self.field(0x38)
    }

    pub(super) fn reported_tcb(&self) -> [u8; 8] {
        self.field(0x180)
    }

    /// Family, model and stepping; from version 3 on, zero before.
    pub(super) fn processor(&self) -> [u8; 3] {
        self.field(0x188)
    }

    pub(super) fn chip_id(&self) -> [u8; 64] {
        self.field(0x1a0)
    }

    pub(super) fn committed_tcb(&self) -> [u8; 8] {
        self.field(0x1e0)
    }

    pub(super) fn launch_tcb(&self) -> [u8; 8] {
        self.field(0x1f0)
    }

    /// Which vulnerabilities' mitigations were verified at the launch, and which are now; from version 5 on.
    pub(super) fn mitigation_vectors(&self) -> Option<[u64; 2]> {
        let vector = |offset| u64::from_le_bytes(self.field(offset));
        (self.version() >= 5).then(|| [vector(0x1f8), vector(0x200)])
    }

    fn number(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.field(offset))
    }

    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.0[offset..].first_chunk().expect("every field lies within the 1184 bytes")
    }
}
