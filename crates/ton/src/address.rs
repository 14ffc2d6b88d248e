//! The user-friendly form of an address: base64url of tag, workchain, hash and CRC16 (TEP-2).
//!
//! It exists for people and wallets. Inside the system, in the database and in receipts an
//! address is always in raw form.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cocoon_primitives::{ParseError, WalletAddress};

use crate::network::Network;

const TAG_BOUNCEABLE: u8 = 0x11;
const TAG_NON_BOUNCEABLE: u8 = 0x51;
const TAG_TESTNET_FLAG: u8 = 0x80;
const FRIENDLY_BYTES: usize = 36;
const FRIENDLY_CHARS: usize = 48;

/// What a user-friendly address says besides the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressForm {
    pub network: Network,
    /// `EQ…`: coins sent to an account without a contract come back. `UQ…`: they stay.
    pub bounceable: bool,
}

/// `EQ…`, `UQ…` on mainnet, `kQ…`, `0Q…` on testnet.
pub fn format_address(address: &WalletAddress, form: AddressForm) -> String {
    let mut bytes = [0; FRIENDLY_BYTES];
    bytes[0] = if form.bounceable { TAG_BOUNCEABLE } else { TAG_NON_BOUNCEABLE };
    if form.network == Network::Testnet {
        bytes[0] |= TAG_TESTNET_FLAG;
    }
    bytes[1..34].copy_from_slice(&address.to_bytes());
    let checksum = crc16(&bytes[..34]).to_be_bytes();
    bytes[34..].copy_from_slice(&checksum);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a raw address (`0:<64 hex>`) or a user-friendly one, which may use either base64
/// alphabet. A raw address says nothing about its form.
pub fn parse_address(text: &str) -> Result<(WalletAddress, Option<AddressForm>), ParseError> {
    let error = ParseError { what: "wallet address" };
    if text.contains(':') {
        return Ok((text.parse()?, None));
    }
    if text.len() != FRIENDLY_CHARS {
        return Err(error);
    }
    let decoded = match text.contains(['-', '_']) {
        true => URL_SAFE_NO_PAD.decode(text),
        false => STANDARD_NO_PAD.decode(text),
    };
    let bytes: [u8; FRIENDLY_BYTES] =
        decoded.ok().and_then(|bytes| bytes.try_into().ok()).ok_or(error.clone())?;
    if crc16(&bytes[..34]).to_be_bytes() != bytes[34..] {
        return Err(error);
    }
    let network = match bytes[0] & TAG_TESTNET_FLAG {
        0 => Network::Mainnet,
        _ => Network::Testnet,
    };
    let bounceable = match bytes[0] & !TAG_TESTNET_FLAG {
        TAG_BOUNCEABLE => true,
        TAG_NON_BOUNCEABLE => false,
        _ => return Err(error),
    };
    let raw: &[u8; 33] = bytes[1..34].try_into().expect("the slice has 33 bytes");
    Ok((WalletAddress::from_bytes(raw), Some(AddressForm { network, bounceable })))
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, no reflection.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}
