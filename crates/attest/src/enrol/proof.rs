//! That the worker holds the receipt key which it names.
//!
//! Evidence covers the hash of the key, and nothing more: without this signature an attested
//! worker could name the key of another one and take its identity. It is over SHA-256 of a domain
//! of its own and `bind`, so no receipt and no renewal can be passed off as it.

use ed25519_dalek::{Signature, VerifyingKey};

use crate::receipt::ReceiptKey;
use crate::sha256;

const DOMAIN: &[u8] = b"cocoon/enrol-receipt-key/v1\0";

pub(crate) fn sign(key: &ReceiptKey, bind: &[u8]) -> [u8; 64] {
    key.sign(&sha256(&[DOMAIN, bind]))
}

/// Strict: a key of small order proves nothing.
pub(crate) fn holds(receipt_key: &[u8; 32], bind: &[u8], proof: &[u8; 64]) -> bool {
    let signed = sha256(&[DOMAIN, bind]);
    VerifyingKey::from_bytes(receipt_key)
        .is_ok_and(|key| key.verify_strict(&signed, &Signature::from_bytes(proof)).is_ok())
}
