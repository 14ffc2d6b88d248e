//! A wallet's state init: code and data, whose hash is the address.
//!
//! Reading is strict: one root, no bytes behind it, ordinary cells, nothing but code and data,
//! and data that is exactly what the code's version lays out. Every size is bounded before a
//! cell is built.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ton_core::cell::{BoC, CellParser, CellType, TonCell};
use ton_core::errors::TonCoreError;

use crate::version::{DataLayout, WalletVersion};

/// The greatest bag of cells that is looked at; W5R1 with its code takes 0.7 KiB.
const BOC_BYTES_MAX: usize = 4096;
/// Its base64 form.
pub(crate) const BOC_BASE64_CHARS_MAX: usize = BOC_BYTES_MAX.div_ceil(3) * 4;
/// Hashing descends cell by cell, so their number also bounds the stack. W5R1 has 22.
const CELLS_MAX: u32 = 128;

/// `split_depth:(Maybe) special:(Maybe) code:(Maybe ^Cell) data:(Maybe ^Cell) library:(Maybe)`:
/// a standard wallet has code and data, and nothing else.
const PARTS: u8 = 0b00110;

/// A state init that was read, and the hash that an address must have to belong to it.
pub(crate) struct StateInit {
    pub(crate) hash: [u8; 32],
    pub(crate) version: WalletVersion,
    pub(crate) public_key: [u8; 32],
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateInitError {
    #[error("not a bag of cells with one ordinary state init")]
    Malformed,
    #[error("code {code_hash} is not that of a known wallet")]
    UnknownCode { code_hash: String },
    #[error("data does not fit the code's version")]
    Data,
}

impl From<TonCoreError> for StateInitError {
    fn from(_: TonCoreError) -> Self {
        Self::Malformed
    }
}

impl StateInit {
    pub(crate) fn from_base64(text: &str) -> Result<Self, StateInitError> {
        if text.len() > BOC_BASE64_CHARS_MAX {
            return Err(StateInitError::Malformed);
        }
        let bytes = STANDARD.decode(text).map_err(|_| StateInitError::Malformed)?;
        if cell_count(&bytes).is_none_or(|cells| cells > CELLS_MAX) {
            return Err(StateInitError::Malformed);
        }
        let root = BoC::from_bytes(bytes)?.single_root()?;
        // A level above zero means pruned branches: such a tree has several hashes.
        if !is_ordinary(&root) || root.level_mask().mask() != 0 {
            return Err(StateInitError::Malformed);
        }
        let mut parser = root.parser();
        if parser.read_num::<u8>(5)? != PARTS {
            return Err(StateInitError::Malformed);
        }
        let code = parser.read_next_ref()?.clone();
        let data = parser.read_next_ref()?.clone();
        parser.ensure_empty()?;
        let code_hash = code.hash()?.as_slice_sized();
        let version = WalletVersion::by_code_hash(code_hash)
            .filter(|_| is_ordinary(&code))
            .ok_or_else(|| StateInitError::UnknownCode { code_hash: hex::encode(code_hash) })?;
        if !is_ordinary(&data) {
            return Err(StateInitError::Data);
        }
        let public_key =
            read_key(&data, version.data_layout()).map_err(|_| StateInitError::Data)?;
        Ok(Self { hash: *root.hash()?.as_slice_sized(), version, public_key })
    }
}

/// The number of cells that the header declares; `None` where there is no header.
fn cell_count(boc: &[u8]) -> Option<u32> {
    let size = usize::from(boc.get(4)? & 0b111);
    let digits = boc.get(6..6 + size)?;
    (1..=4).contains(&size).then(|| digits.iter().fold(0, |n, byte| (n << 8) | u32::from(*byte)))
}

fn is_ordinary(cell: &TonCell) -> bool {
    cell.cell_type() == CellType::Ordinary
}

/// The key in a wallet's data, which must be the whole cell.
fn read_key(data: &TonCell, layout: DataLayout) -> Result<[u8; 32], StateInitError> {
    let mut parser = data.parser();
    if layout == DataLayout::AllowedSeqnoIdKeyExtensions && !parser.read_bit()? {
        // Signatures are off: the key in the data does not control the wallet.
        return Err(StateInitError::Data);
    }
    skip_u32(&mut parser)?;
    if layout != DataLayout::SeqnoKey {
        skip_u32(&mut parser)?;
    }
    let mut key = [0; 32];
    parser.read_bits_to(256, &mut key)?;
    if matches!(layout, DataLayout::SeqnoIdKeyPlugins | DataLayout::AllowedSeqnoIdKeyExtensions)
        && parser.read_bit()?
    {
        // A wallet that starts with plugins or extensions obeys more than its key.
        return Err(StateInitError::Data);
    }
    parser.ensure_empty()?;
    Ok(key)
}

fn skip_u32(parser: &mut CellParser<'_>) -> Result<(), TonCoreError> {
    parser.read_num::<u32>(32).map(|_| ())
}

/// Builds the state init of a new wallet. `wallet_id` is ignored by versions that have none.
pub(crate) fn build(
    version: WalletVersion,
    wallet_id: u32,
    public_key: &[u8; 32],
) -> Result<TonCell, TonCoreError> {
    let layout = version.data_layout();
    let mut data = TonCell::builder();
    if layout == DataLayout::AllowedSeqnoIdKeyExtensions {
        data.write_bit(true)?;
    }
    data.write_bits([0; 4], 32)?;
    if layout != DataLayout::SeqnoKey {
        data.write_bits(wallet_id.to_be_bytes(), 32)?;
    }
    data.write_bits(public_key, 256)?;
    if matches!(layout, DataLayout::SeqnoIdKeyPlugins | DataLayout::AllowedSeqnoIdKeyExtensions) {
        data.write_bit(false)?;
    }
    let code = BoC::from_base64(version.code_boc_base64())?.single_root()?;
    let mut root = TonCell::builder();
    root.write_num(&PARTS, 5)?;
    root.write_ref(code)?;
    root.write_ref(data.build()?)?;
    root.build()
}
