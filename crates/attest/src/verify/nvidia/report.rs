//! An attestation report of an NVIDIA device: an SPDM request for measurements and its answer.
//!
//! Source: DMTF DSP0274 1.1, GET_MEASUREMENTS and MEASUREMENTS; the opaque fields are NVIDIA's, by
//! the numbers that its open verifier gives them.
//! Invariants: every byte belongs to exactly one part; there is one block for each index from 1 on, without
//! gaps, and one field for each number; the signature is the last 96 bytes and covers all others.

use std::collections::BTreeMap;

/// The samples of six driver versions have about four thousand bytes.
pub const REPORT_BYTES_MAX: usize = 64 * 1024;

/// SPDM 1.1, GET_MEASUREMENTS, signed, all of them.
const REQUEST: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];
/// SPDM 1.1, MEASUREMENTS.
const RESPONSE: [u8; 2] = [0x11, 0x60];
const SIGNATURE_BYTES: usize = 96;
/// The measurement follows DMTF's form.
const SPECIFICATION_DMTF: u8 = 1;
const FIELDS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the report is too large")]
    TooLarge,
    #[error("not a signed SPDM 1.1 request for all measurements and its answer")]
    Message,
    #[error("the blocks of measurements do not fill their record one by one")]
    Blocks,
    #[error("the opaque fields do not fill their part one by one")]
    Fields,
}

#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) nonce: [u8; 32],
    /// By their index, from 1.
    pub(super) measurements: BTreeMap<u8, &'a [u8]>,
    fields: BTreeMap<u16, &'a [u8]>,
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> Report<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > REPORT_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        let (nonce, parts) = parts(bytes).ok_or(Malformed::Message)?;
        let measurements = blocks(parts.record).ok_or(Malformed::Blocks)?;
        if measurements.len() != usize::from(parts.blocks) {
            return Err(Malformed::Blocks);
        }
        let fields = fields(parts.opaque).ok_or(Malformed::Fields)?;
        let signed = &bytes[..bytes.len() - SIGNATURE_BYTES];
        Ok(Self { nonce, measurements, fields, signed, signature: parts.signature })
    }

    pub(super) fn field(&self, number: u16) -> Option<&'a [u8]> {
        self.fields.get(&number).copied()
    }
}

struct Parts<'a> {
    blocks: u8,
    record: &'a [u8],
    opaque: &'a [u8],
    signature: &'a [u8],
}

/// Request and answer, cut to their parts.
fn parts(mut rest: &[u8]) -> Option<([u8; 32], Parts<'_>)> {
    let request: [u8; 4] = take(&mut rest)?;
    let nonce = take(&mut rest)?;
    let [slot] = take(&mut rest)?;
    let response: [u8; 2] = take(&mut rest)?;
    let [_total, answered] = take(&mut rest)?;
    if request != REQUEST || response != RESPONSE || answered & 0x0f != slot & 0x0f {
        return None;
    }
    let [blocks, low, middle, high] = take(&mut rest)?;
    let length = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).ok()?;
    let record = split(&mut rest, length)?;
    let _nonce_of_the_device: [u8; 32] = take(&mut rest)?;
    let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
    let opaque = split(&mut rest, length)?;
    let signature = split(&mut rest, SIGNATURE_BYTES)?;
    rest.is_empty().then_some((nonce, Parts { blocks, record, opaque, signature }))
}

/// Each: index, specification, length, then the kind, a length and the value.
fn blocks(mut rest: &[u8]) -> Option<BTreeMap<u8, &[u8]>> {
    let mut blocks = BTreeMap::new();
    while !rest.is_empty() {
        let [index, specification] = take(&mut rest)?;
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let mut block = split(&mut rest, length)?;
        let [_kind] = take(&mut block)?;
        let value_length = usize::from(u16::from_le_bytes(take(&mut block)?));
        let new = blocks.insert(index, block).is_none();
        if specification != SPECIFICATION_DMTF || value_length != block.len() || !new {
            return None;
        }
    }
    // So that the place in a list of them is the index.
    (1..).zip(blocks.keys()).all(|(expected, index)| expected == *index).then_some(blocks)
}

/// Each: number, length, value.
fn fields(mut rest: &[u8]) -> Option<BTreeMap<u16, &[u8]>> {
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let number = u16::from_le_bytes(take(&mut rest)?);
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let new = fields.insert(number, split(&mut rest, length)?).is_none();
        if !new || fields.len() > FIELDS_MAX {
            return None;
        }
    }
    Some(fields)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn split<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}
