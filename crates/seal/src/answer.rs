//! The answer: a preamble and frames, each one AEAD with its place and whether it is the last.

pub(crate) mod message;
pub(crate) mod opener;
pub(crate) mod sealer;

use cocoon_primitives::WorkerId;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use self::opener::AnswerOpener;
use self::sealer::AnswerSealer;
use crate::padding::{LENGTH_BYTES, STEP_BYTES};
use crate::suite::{Cipher, Exports, NONCE_BYTES, Secret, TAG_BYTES};

/// Bytes of one payload on the uplink at most: the preamble, if any, and one frame.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of data in one frame at most.
pub const FRAME_DATA_BYTES_MAX: usize = FRAME_TEXT_BYTES_MAX - FRAME_TEXT_HEADER_BYTES;
/// What a gateway may insert between frames to say that the connection lives.
pub const KEEP_ALIVE: [u8; FRAME_HEADER_BYTES] = [0; FRAME_HEADER_BYTES];
/// Bytes before the first frame: version, the worker's place, the response nonce.
pub const PREAMBLE_BYTES: usize = 2 + RESPONSE_NONCE_BYTES;

const VERSION: u8 = 1;
const RESPONSE_NONCE_BYTES: usize = 32;
/// `u32be length of the ciphertext ‖ u8 flags`.
const FRAME_HEADER_BYTES: usize = 5;
/// `u8 kind ‖ u32be length of the data`.
const FRAME_TEXT_HEADER_BYTES: usize = 1 + LENGTH_BYTES;
/// The widest plaintext with which the first payload is within its bound.
const FRAME_TEXT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - STEP_BYTES;
const FINAL: u8 = 1;

const _: () = assert!(
    PREAMBLE_BYTES + FRAME_HEADER_BYTES + FRAME_TEXT_BYTES_MAX + TAG_BYTES <= PAYLOAD_BYTES_MAX
);
const _: () = assert!(FRAME_TEXT_BYTES_MAX.is_multiple_of(STEP_BYTES));

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Bytes of the answer's body.
    Data,
    /// [`crate::AnswerHead`] as JSON: always first.
    Head,
    /// [`crate::SealedRefusal`] as JSON: the only frame, and so the last.
    Error,
}

impl FrameKind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Head => 1,
            Self::Error => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Data),
            1 => Some(Self::Head),
            2 => Some(Self::Error),
            _ => None,
        }
    }

    /// Whether a frame of this kind may stand at this place.
    const fn belongs(self, seq: u64, is_final: bool) -> bool {
        match self {
            Self::Data => seq > 0,
            Self::Head => seq == 0,
            Self::Error => seq == 0 && is_final,
        }
    }
}

/// A worker's half: what seals the answer to one request.
pub struct AnswerSecret {
    place: u8,
    enc: [u8; 32],
    secret: Secret,
}

impl AnswerSecret {
    pub(crate) const fn new(place: u8, enc: [u8; 32], secret: Secret) -> Self {
        Self { place, enc, secret }
    }

    /// `response_nonce` is random, and of this answer alone.
    pub fn sealer(&self, response_nonce: [u8; 32]) -> AnswerSealer {
        let schedule = Schedule::new(&self.secret, &self.enc, &response_nonce);
        AnswerSealer::new(schedule, self.place, response_nonce)
    }
}

/// A client's half: what opens the answer of whichever worker gives it.
pub struct AnswerKeys(Vec<Keyed>);

/// What one worker would answer under.
pub(crate) struct Keyed {
    pub(crate) worker_id: WorkerId,
    pub(crate) enc: [u8; 32],
    pub(crate) exports: Exports,
}

impl AnswerKeys {
    pub(crate) const fn new(keys: Vec<Keyed>) -> Self {
        Self(keys)
    }

    /// Reads one answer. The same request sent again has another.
    pub fn opener(&self) -> AnswerOpener {
        let keyed = |keyed: &Keyed| {
            let exports = Exports {
                answer: keyed.exports.answer.clone(),
                params_salt: keyed.exports.params_salt,
            };
            Keyed { worker_id: keyed.worker_id, enc: keyed.enc, exports }
        };
        AnswerOpener::new(self.0.iter().map(keyed).collect())
    }
}

/// Key and nonces of one answer: RFC 9458 §4.4.
struct Schedule {
    cipher: Cipher,
    nonce: Zeroizing<[u8; NONCE_BYTES]>,
}

impl Schedule {
    fn new(secret: &[u8; 32], enc: &[u8; 32], response_nonce: &[u8; 32]) -> Self {
        let salt = [enc.as_slice(), response_nonce].concat();
        let expander = Hkdf::<Sha256>::new(Some(&salt), secret);
        let (mut key, mut nonce) = (Secret::default(), Zeroizing::default());
        let fits = "the suite's lengths are within what HKDF gives";
        expander.expand(b"key", key.as_mut()).expect(fits);
        let bytes: &mut [u8; NONCE_BYTES] = &mut nonce;
        expander.expand(b"nonce", bytes).expect(fits);
        Self { cipher: Cipher::new(&key), nonce }
    }

    /// The base nonce with the frame's number added without carry, at its end.
    fn nonce(&self, seq: u64) -> [u8; NONCE_BYTES] {
        let mut nonce = *self.nonce;
        for (byte, place) in nonce.iter_mut().rev().zip(seq.to_be_bytes().iter().rev()) {
            *byte ^= place;
        }
        nonce
    }

    fn aad(seq: u64, flags: u8) -> [u8; 9] {
        let mut aad = [flags; 9];
        aad[..8].copy_from_slice(&seq.to_be_bytes());
        aad
    }
}
