//! What the outbox's file is made of: `u32be length · u32be CRC-32 · kind · body`, where length and
//! checksum are those of kind and body.

use std::collections::{BTreeMap, HashMap};

use cocoon_attest::receipt::{ReceiptCore, SignedReceipt};
use cocoon_primitives::RequestId;

/// A file begins with this.
pub(super) const MAGIC: &[u8] = b"cocoon-outbox/1\n";

const RECEIPT: u8 = 0;
const ACKNOWLEDGED: u8 = 1;
const HEADER_BYTES: usize = 8;
const ID_BYTES: usize = 16;
/// Requests in one record of acknowledgements.
const IDS_MAX: usize = 512;
/// Of kind and body.
const BYTES_MAX: usize = 1 + IDS_MAX * ID_BYTES;
const _: () = assert!(BYTES_MAX > SignedReceipt::BYTES_MAX);

/// The bytes of a receipt's record.
pub(super) fn of_receipt(receipt: &SignedReceipt) -> Vec<u8> {
    record(RECEIPT, &receipt.to_bytes())
}

/// The bytes of the records that say which receipts are no longer needed.
pub(super) fn of_acknowledged(request_ids: &[RequestId]) -> Vec<u8> {
    let batches = request_ids.chunks(IDS_MAX).map(|batch| {
        let ids: Vec<u8> = batch.iter().flat_map(|id| *id.as_bytes()).collect();
        record(ACKNOWLEDGED, &ids)
    });
    batches.flatten().collect()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut checked = Vec::with_capacity(1 + body.len());
    checked.push(kind);
    checked.extend_from_slice(body);
    let length = u32::try_from(checked.len()).expect("records are bounded far below 4 GiB");
    let mut out = Vec::with_capacity(HEADER_BYTES + checked.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
    out.extend_from_slice(&checked);
    out
}

/// What a file still holds.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Not acknowledged, in the order in which they were written.
    pub(super) receipts: Vec<SignedReceipt>,
    /// Bytes after the last whole record.
    pub(super) torn_bytes: usize,
    /// What these bytes are.
    pub(super) end: End,
}

/// How a file ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    /// With a record.
    #[default]
    Whole,
    /// Within a record: a write that a crash or a power loss cut.
    Cut,
    /// With bytes that no run of this program has left there by being cut off.
    Unknown,
}

/// Reads a file up to its first byte that is no record.
pub(super) fn replay(file: &[u8]) -> Replayed {
    let Some(mut rest) = file.strip_prefix(MAGIC) else {
        let end = if MAGIC.starts_with(file) { End::Cut } else { End::Unknown };
        return Replayed { receipts: Vec::new(), torn_bytes: file.len(), end };
    };
    let mut next = 0_u64;
    let mut live: BTreeMap<u64, SignedReceipt> = BTreeMap::new();
    let mut of_request: HashMap<RequestId, Vec<u64>> = HashMap::new();
    while let Some((kind, body, after)) = split(rest) {
        match kind {
            RECEIPT => {
                let Some((request_id, receipt)) = receipt(body) else { break };
                live.insert(next, receipt);
                of_request.entry(request_id).or_default().push(next);
                next += 1;
            }
            ACKNOWLEDGED => {
                let (ids, []) = body.as_chunks::<ID_BYTES>() else { break };
                for id in ids {
                    let places = of_request.remove(&RequestId::from_bytes(*id));
                    for at in places.unwrap_or_default() {
                        live.remove(&at);
                    }
                }
            }
            _ => break,
        }
        rest = after;
    }
    let end = match rest {
        [] => End::Whole,
        rest if is_cut(rest) => End::Cut,
        _ => End::Unknown,
    };
    Replayed { receipts: live.into_values().collect(), torn_bytes: rest.len(), end }
}

/// Whether these bytes can be the beginning of a record whose rest is missing.
fn is_cut(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return true };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    (2..=BYTES_MAX).contains(&length) && rest.len() < size_of::<u32>() + length
}

/// Kind, body, and what follows; `None` where no whole record stands.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > BYTES_MAX {
        return None;
    }
    let (checked, after) = rest.split_at_checked(length)?;
    if crc32fast::hash(checked) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let (kind, body) = checked.split_first()?;
    Some((*kind, body, after))
}

fn receipt(body: &[u8]) -> Option<(RequestId, SignedReceipt)> {
    let receipt = SignedReceipt::from_bytes(body).ok()?;
    let core = ReceiptCore::decode(&receipt.core).ok()?;
    Some((core.request_id, receipt))
}
