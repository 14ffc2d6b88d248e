//! Sealing a request to workers, and opening it in one of them.

use cocoon_primitives::{Digest, WorkerId};
use zeroize::{Zeroize, Zeroizing};

use crate::RECIPIENTS_MAX;
use crate::answer::{AnswerKeys, AnswerSecret, Keyed};
use crate::error::{OpenError, SealError};
use crate::head::Head;
use crate::key_pair::KeyPair;
use crate::padding::{SEALED_BODY_BYTES_MAX, pad, unpad};
use crate::seal_keys::{SealKeys, Wrapped};
use crate::suite::{self, Cipher, NONCE_BYTES, Secret};

/// One key seals one body.
const BODY_NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// A worker that may open the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub worker_id: WorkerId,
    pub key: [u8; 32],
    /// Of its lease. A worker whose evidence is another cannot open the request.
    pub evidence_digest: Digest,
}

/// Random bytes for one request, used for no other.
pub struct SealRandom {
    pub cek: [u8; 32],
    /// By recipient.
    pub ephemeral: [[u8; 32]; RECIPIENTS_MAX],
}

impl Drop for SealRandom {
    fn drop(&mut self) {
        self.cek.zeroize();
        self.ephemeral.zeroize();
    }
}

/// A request as its worker reads it.
pub struct Opened {
    pub body: Zeroizing<Vec<u8>>,
    pub answer: AnswerSecret,
    /// Salt of the commitment to the parameters, which only client and worker know.
    pub params_salt: [u8; 32],
}

/// Seals `body` under `head`: the wrapped keys for the header, the sealed body, and what opens the
/// answer.
pub fn seal(
    head: &Head,
    body: &[u8],
    recipients: &[Recipient],
    random: &SealRandom,
) -> Result<(SealKeys, Vec<u8>, AnswerKeys), SealError> {
    if recipients.len() > RECIPIENTS_MAX {
        return Err(SealError::Recipients);
    }
    let aad = head.aad();
    let (mut entries, mut keys) = (Vec::new(), Vec::new());
    for (place, (recipient, ephemeral)) in recipients.iter().zip(&random.ephemeral).enumerate() {
        let Recipient { worker_id, key, evidence_digest } = recipient;
        let sent = suite::send(key, evidence_digest, &aad, &random.cek, ephemeral);
        let sent = sent.ok_or(SealError::Key(place))?;
        entries.push(Wrapped { worker_id: *worker_id, enc: sent.enc, wrapped: sent.wrapped });
        keys.push(Keyed { worker_id: *worker_id, enc: sent.enc, exports: sent.exports });
    }
    let entries = SealKeys::new(entries).ok_or(SealError::Recipients)?;
    let mut sealed = pad(body).ok_or(SealError::TooLong)?;
    if !Cipher::new(&random.cek).seal(&BODY_NONCE, &aad, &mut sealed, 0) {
        return Err(SealError::TooLong);
    }
    Ok((entries, std::mem::take(&mut *sealed), AnswerKeys::new(keys)))
}

/// Opens a request that was sealed to this worker. `evidence_digest` is that of its own lease.
pub fn open(
    head: &Head,
    keys: &SealKeys,
    worker_id: WorkerId,
    evidence_digest: Digest,
    key: &KeyPair,
    body: &[u8],
) -> Result<Opened, OpenError> {
    let (place, entry) = keys.of(worker_id).ok_or(OpenError::Recipient)?;
    if body.len() > SEALED_BODY_BYTES_MAX {
        return Err(OpenError::Body);
    }
    let aad = head.aad();
    let (cek, exports): (Secret, _) =
        suite::receive(key.private(), &evidence_digest, &aad, &entry.enc, &entry.wrapped)
            .ok_or(OpenError::Key)?;
    let opened = Cipher::new(&cek).open(&BODY_NONCE, &aad, body).and_then(unpad);
    Ok(Opened {
        body: opened.ok_or(OpenError::Body)?,
        params_salt: exports.params_salt,
        answer: AnswerSecret::new(place, entry.enc, exports.answer),
    })
}
