//! Identifiers: fixed bytes inside, a short printable form outside.

use std::fmt;
use std::str::FromStr;

use crate::text::{ParseError, text_form};

/// Declares an identifier of `$bytes` bytes that prints as `$prefix` and lower-case hex.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Bytes in the identifier.
            pub const BYTES: usize = $bytes;

            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let error = ParseError { what: $what };
                let digits = text.strip_prefix($prefix).ok_or(error.clone())?;
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| error)?;
                Ok(Self(bytes))
            }
        }

        text_form!($name, $what);
    };
}

identifier!(
    /// One request as the gateway names it: `x-request-id`, the ledger's key, the receipt's id.
    RequestId, 16, "req_", "request id"
);
identifier!(
    /// One API key as its owner sees it; the secret is another value.
    KeyId, 8, "key_", "key id"
);
identifier!(
    /// One boot of one worker: SHA-256("cocoon/worker/v1" ‖ receipt public key).
    WorkerId, 32, "wrk_", "worker id"
);
identifier!(
    /// One admission of one worker, short-lived.
    LeaseId, 16, "lease_", "lease id"
);
identifier!(
    /// A SHA-256 digest.
    Digest, 32, "", "SHA-256 digest"
);
