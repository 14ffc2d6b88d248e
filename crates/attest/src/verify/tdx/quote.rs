//! The shape of a TDX quote, and what it proves by itself: that its attestation key signed it.
//!
//! Intel's library reads lengths leniently: bytes behind each part are ignored. Here every part
//! fills what encloses it, and what stands behind the quote is zero (a buffer's unused end).
//! Source: Intel TDX DCAP quote generation, `sgx_quote_4.h` and `sgx_quote_5.h`.

use dcap_qvl::config::{CryptoProvider as _, EcdsaSigEncoder as _};
use dcap_qvl::crypto::RustCryptoCrypto;
use dcap_qvl::signature::DerSigEncoder;

use super::{Malformed, Refusal};
use crate::evidence::QUOTE_BYTES_MAX;

const HEADER_BYTES: usize = 48;
const TEE_TDX: u32 = 0x81;
const TD10_BYTES: u32 = 584;
/// Where these stand in a body.
const RTMR3: usize = 472;
const REPORT_DATA: usize = 520;
/// The largest body: that of TDX 1.5 with its extension.
const BODY_BYTES_MAX: u32 = 885;
/// Certification data that holds the quoting enclave's report, and a chain in PEM.
const QE_REPORT: u16 = 6;
const PCK_CHAIN: u16 = 5;

/// A quote whose every length is consistent; nothing of it is verified.
pub(super) struct UnverifiedQuote<'a> {
    /// Without the zeros behind it.
    pub(super) bytes: &'a [u8],
    /// What the attestation key signs: header and body.
    signed: &'a [u8],
    /// Of every version, the first part of it is the report of TDX 1.0.
    body: &'a [u8],
    signature: [u8; 64],
    attestation_key: [u8; 64],
    qe_report: &'a [u8],
    qe_auth: &'a [u8],
}

/// Why bytes are not taken for a quote: none at all, or one that is not judged further.
pub(super) enum Fault {
    Malformed(Malformed),
    Refused(Refusal),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Truncated)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A part with its length in front of it.
    fn part(&mut self) -> Result<Cursor<'a>, Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed::Truncated)?;
        self.take(count).map(Cursor)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Part) }
    }
}

impl<'a> UnverifiedQuote<'a> {
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, Fault> {
        if input.len() > QUOTE_BYTES_MAX {
            return Err(Malformed::TooLong.into());
        }
        let mut quote = Cursor(input);
        let mut header = Cursor(quote.take(HEADER_BYTES)?);
        let version = header.u16()?;
        let _key_type = header.u16()?;
        if header.u32()? != TEE_TDX {
            return Err(Refusal::NotTdx.into());
        }
        let body_bytes = match version {
            4 => TD10_BYTES,
            5 => {
                let kind = quote.u16()?;
                if !(2..=4).contains(&kind) {
                    return Err(Refusal::NotTdx.into());
                }
                quote.u32()?
            }
            _ => return Err(Refusal::Version(version).into()),
        };
        if body_bytes > BODY_BYTES_MAX {
            return Err(Malformed::Part.into());
        }
        let body = quote.take(usize::try_from(body_bytes).map_err(|_| Malformed::Part)?)?;
        let signed = &input[..input.len() - quote.0.len()];
        let mut auth = quote.part()?;
        let bytes = &input[..input.len() - quote.0.len()];
        if quote.0.iter().any(|byte| *byte != 0) {
            return Err(Refusal::BytesBehind.into());
        }
        let (signature, attestation_key) = (auth.array()?, auth.array()?);
        if auth.u16()? != QE_REPORT {
            return Err(Malformed::Part.into());
        }
        let mut certification = auth.part()?;
        auth.end()?;
        let qe_report = certification.take(384)?;
        certification.take(64)?;
        let qe_auth_bytes = usize::from(certification.u16()?);
        let qe_auth = certification.take(qe_auth_bytes)?;
        if certification.u16()? != PCK_CHAIN {
            return Err(Malformed::Part.into());
        }
        certification.part()?;
        certification.end()?;
        Ok(Self { bytes, signed, body, signature, attestation_key, qe_report, qe_auth })
    }

    /// The report data and RTMR3, which nothing vouches for yet.
    pub(super) fn reported(&self) -> Option<([u8; 64], [u8; 48])> {
        let rtmr3 = self.body.get(RTMR3..)?.first_chunk()?;
        let data = self.body.get(REPORT_DATA..)?.first_chunk()?;
        Some((*data, *rtmr3))
    }

    /// Header and body are signed by the attestation key that the quote carries.
    pub(super) fn check_signature(&self) -> Result<(), Refusal> {
        let (r, s) = self.signature.split_at(32);
        let signature =
            DerSigEncoder::encode_ecdsa_sig(r, s).map_err(|_| Refusal::QuoteSignature)?;
        // An uncompressed point of SEC1.
        let key = [&[4], self.attestation_key.as_slice()].concat();
        RustCryptoCrypto::sig_algo()
            .verify_signature(&key, self.signed, &signature)
            .map_err(|_| Refusal::QuoteSignature)
    }

    /// The quoting enclave's report, whose signature the vendor's chain covers, names the key.
    pub(super) fn check_attestation_key(&self) -> Result<(), Refusal> {
        let bound = crate::sha256(&[&self.attestation_key, self.qe_auth]);
        let named = self.qe_report.get(320..352).ok_or(Refusal::AttestationKey)?;
        if named == bound { Ok(()) } else { Err(Refusal::AttestationKey) }
    }
}
