//! What can go wrong on either side.

/// Why something cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("a request is sealed to 1 to 4 workers, each named once")]
    Recipients,
    #[error("the key of recipient {0} is not a public key")]
    Key(usize),
    #[error("the data is over its bound")]
    TooLong,
    #[error("the answer has ended")]
    Ended,
    #[error("a frame of this kind does not belong here")]
    Kind,
}

impl SealError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Recipients => "recipients",
            Self::Key(_) => "recipient_key",
            Self::TooLong => "too_long",
            Self::Ended => "ended",
            Self::Kind => "frame_kind",
        }
    }
}

/// Why something sealed cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the list of wrapped keys is malformed")]
    SealKeys,
    #[error("the request is not sealed to this worker")]
    Recipient,
    #[error("the wrapped key does not open: other keys, other evidence or another head")]
    Key,
    #[error("the sealed body does not open")]
    Body,
    #[error("the answer does not start as one of this request")]
    Preamble,
    #[error("frame {0} is malformed")]
    Malformed(u64),
    #[error("frame {0} does not open: it was changed, moved or left out")]
    Frame(u64),
    #[error("something follows the last frame")]
    Trailing,
    #[error("the answer was cut off")]
    Truncated,
}

impl OpenError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::SealKeys => "seal_keys",
            Self::Recipient => "recipient",
            Self::Key => "key",
            Self::Body => "body",
            Self::Preamble => "preamble",
            Self::Malformed(_) => "frame_malformed",
            Self::Frame(_) => "frame",
            Self::Trailing => "trailing",
            Self::Truncated => "truncated",
        }
    }
}
