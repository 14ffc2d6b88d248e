//! A receipt as a file: JSON that anybody can verify offline.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::{Assurance, WalletAddress};
use serde::{Deserialize, Serialize};

use super::batch::{self, Proof};
use super::{ReceiptCore, ReceiptError, SignedReceipt, pay_commitment, verify};

/// A file that does not prove what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("the field {0} is not valid")]
    Field(&'static str),
    #[error("the worker's receipt does not verify")]
    Receipt(#[source] ReceiptError),
    #[error("the path does not lead from the receipt to the signed root")]
    Path,
    #[error("the gateway's signature does not verify")]
    GatewaySignature,
    #[error("the file was countersigned by another gateway than the pinned one")]
    GatewayKey,
    #[error("the assurance label differs from what the worker signed")]
    Assurance,
    #[error("the opening does not fit the payment commitment")]
    Opening,
}

/// The file. Unverified: see [`verify_file`]. Bytes are base64, keys and hashes hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    pub core: String,
    pub sig_worker: String,
    pub worker_key: String,
    pub sig_gateway: String,
    pub gateway_key: String,
    pub proof: FileProof,
    /// For the reader: what stands behind the worker's evidence.
    pub assurance: Assurance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Opens the commitments of request and response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// The path from the receipt to the root that the gateway signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileProof {
    pub index: u64,
    pub size: u64,
    pub path: Vec<String>,
    pub root: String,
}

/// Shows who paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    pub account: WalletAddress,
    pub opened_at: u64,
    /// Hash of the request authorisation, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<String>,
    /// Hex.
    pub blind: String,
}

impl Opening {
    /// The opening for an account without a channel.
    pub fn of_account(account: WalletAddress, blind: &[u8; 32]) -> Self {
        Self { account, opened_at: 0, authorisation: None, blind: hex::encode(blind) }
    }
}

/// What a gateway holds of one receipt.
#[derive(Debug, Clone)]
pub struct ReceiptFileParts<'a> {
    pub core: &'a [u8],
    pub signature: &'a [u8; 64],
    pub worker_key: &'a [u8; 32],
    pub salt: Option<&'a [u8; 32]>,
    pub gateway_key: &'a [u8; 32],
    pub gateway_signature: &'a [u8; 64],
    pub root: &'a [u8; 32],
    pub proof: &'a Proof,
    pub opening: Option<Opening>,
}

impl ReceiptFile {
    /// The file of a receipt that the gateway verified and countersigned.
    pub fn new(parts: &ReceiptFileParts<'_>) -> Result<Self, ReceiptError> {
        let core = ReceiptCore::decode(parts.core)?;
        Ok(Self {
            core: STANDARD.encode(parts.core),
            sig_worker: STANDARD.encode(parts.signature),
            worker_key: hex::encode(parts.worker_key),
            sig_gateway: STANDARD.encode(parts.gateway_signature),
            gateway_key: hex::encode(parts.gateway_key),
            proof: FileProof {
                index: parts.proof.index,
                size: parts.proof.size,
                path: parts.proof.path.iter().map(hex::encode).collect(),
                root: hex::encode(parts.root),
            },
            assurance: core.assurance,
            opening: parts.opening.clone(),
            salt: parts.salt.map(hex::encode),
        })
    }
}

/// What a verified file proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedFile {
    pub core: ReceiptCore,
    pub gateway_key: [u8; 32],
    /// Who paid, where the file opens it.
    pub account: Option<WalletAddress>,
    /// Opens the commitments of request and response.
    pub salt: Option<[u8; 32]>,
}

/// Checks both signatures, the path, the label and the opening. Without a pinned key the result
/// says only that some gateway, named by its key, countersigned.
pub fn verify_file(
    file: &ReceiptFile,
    pinned_gateway_key: Option<&[u8; 32]>,
) -> Result<VerifiedFile, FileError> {
    let salt = file.salt.as_deref().map(|text| hex_field(text, "salt")).transpose()?;
    let receipt = SignedReceipt {
        core: base64_field(&file.core, ReceiptCore::BYTES_MAX, "core")?,
        signature: base64_array(&file.sig_worker, "sig_worker")?,
        salt: salt.unwrap_or_default(),
        worker_key: hex_field(&file.worker_key, "worker_key")?,
    };
    let core = receipt.verify().map_err(FileError::Receipt)?;
    verify::within_limits(&core).map_err(FileError::Receipt)?;
    let gateway_key: [u8; 32] = hex_field(&file.gateway_key, "gateway_key")?;
    if pinned_gateway_key.is_some_and(|pinned| *pinned != gateway_key) {
        return Err(FileError::GatewayKey);
    }
    let root = hex_field(&file.proof.root, "proof.root")?;
    let leaf = batch::leaf(&receipt.core, &receipt.signature);
    if !batch::verify(&leaf, &file_proof(&file.proof)?, &root) {
        return Err(FileError::Path);
    }
    let signature = base64_array(&file.sig_gateway, "sig_gateway")?;
    if !batch::verify_countersignature(&gateway_key, &root, &signature) {
        return Err(FileError::GatewaySignature);
    }
    if file.assurance != core.assurance {
        return Err(FileError::Assurance);
    }
    let account = file.opening.as_ref().map(|opening| open(opening, &core)).transpose()?;
    Ok(VerifiedFile { core, gateway_key, account, salt })
}

fn file_proof(proof: &FileProof) -> Result<Proof, FileError> {
    if proof.path.len() > 64 {
        return Err(FileError::Field("proof.path"));
    }
    let steps = proof.path.iter().map(|step| hex_field(step, "proof.path"));
    Ok(Proof { index: proof.index, size: proof.size, path: steps.collect::<Result<_, _>>()? })
}

fn open(opening: &Opening, core: &ReceiptCore) -> Result<WalletAddress, FileError> {
    let authorisation = opening.authorisation.as_deref();
    let commitment = pay_commitment(
        &opening.account,
        opening.opened_at,
        core.request_id,
        authorisation.map(|text| hex_field(text, "opening.authorisation")).transpose()?,
        &hex_field(&opening.blind, "opening.blind")?,
    );
    if commitment == core.terms.pay_commit { Ok(opening.account) } else { Err(FileError::Opening) }
}

fn hex_field(text: &str, field: &'static str) -> Result<[u8; 32], FileError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| FileError::Field(field))?;
    Ok(bytes)
}

fn base64_field(text: &str, bytes_max: usize, field: &'static str) -> Result<Vec<u8>, FileError> {
    if text.len() > bytes_max * 2 {
        return Err(FileError::Field(field));
    }
    STANDARD.decode(text).map_err(|_| FileError::Field(field))
}

fn base64_array(text: &str, field: &'static str) -> Result<[u8; 64], FileError> {
    base64_field(text, 64, field)?.try_into().map_err(|_| FileError::Field(field))
}
