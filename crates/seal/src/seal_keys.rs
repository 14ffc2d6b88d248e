//! The body's key, wrapped for each worker that may open it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cocoon_primitives::WorkerId;

use crate::RECIPIENTS_MAX;
use crate::error::OpenError;

/// Bytes in the header at most: four entries of 177 and what separates them.
const HEADER_BYTES_MAX: usize = RECIPIENTS_MAX * 178;

/// The header `cocoon-seal-keys`: 1 to 4 workers, each named once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealKeys(Vec<Wrapped>);

/// One worker's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    pub worker_id: WorkerId,
    /// The sender's ephemeral public key.
    pub enc: [u8; 32],
    pub wrapped: [u8; 48],
}

impl SealKeys {
    /// `None` where there are none, too many, or two for one worker.
    pub fn new(entries: Vec<Wrapped>) -> Option<Self> {
        let mut ids: Vec<WorkerId> = entries.iter().map(|entry| entry.worker_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let is_bounded = (1..=RECIPIENTS_MAX).contains(&entries.len());
        (is_bounded && ids.len() == entries.len()).then_some(Self(entries))
    }

    pub fn entries(&self) -> &[Wrapped] {
        &self.0
    }

    pub fn worker_ids(&self) -> impl Iterator<Item = WorkerId> {
        self.0.iter().map(|entry| entry.worker_id)
    }

    /// A worker's entry and its place, which the answer names.
    pub(crate) fn of(&self, worker_id: WorkerId) -> Option<(u8, &Wrapped)> {
        let place = self.0.iter().position(|entry| entry.worker_id == worker_id)?;
        Some((u8::try_from(place).ok()?, self.0.get(place)?))
    }
}

impl fmt::Display for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, entry) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (enc, wrapped) =
                (URL_SAFE_NO_PAD.encode(entry.enc), URL_SAFE_NO_PAD.encode(entry.wrapped));
            write!(f, "{comma}{}:{enc}:{wrapped}", entry.worker_id)?;
        }
        Ok(())
    }
}

impl FromStr for SealKeys {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, OpenError> {
        if text.len() > HEADER_BYTES_MAX {
            return Err(OpenError::SealKeys);
        }
        let entries: Option<Vec<Wrapped>> = text.split(',').map(entry).collect();
        let keys = entries.and_then(Self::new).ok_or(OpenError::SealKeys)?;
        // One text for one list: no other case of a digit, for instance.
        if keys.to_string() == text { Ok(keys) } else { Err(OpenError::SealKeys) }
    }
}

fn entry(text: &str) -> Option<Wrapped> {
    let mut parts = text.split(':');
    let entry = Wrapped {
        worker_id: parts.next()?.parse().ok()?,
        enc: URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?,
        wrapped: URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?,
    };
    parts.next().is_none().then_some(entry)
}
