//! The clear head of a sealed request: what a gateway routes and charges by, and what the worker
//! holds it to.

use std::time::Duration;

use cocoon_primitives::{ModelName, RequestId, Timestamp};

use crate::aad::Encoder;
use crate::{PROTOCOL, headers};

/// How far ahead a request may set its own end.
pub(crate) const AHEAD_MAX: Duration = Duration::from_secs(300);
/// What clocks may differ by.
pub(crate) const SKEW: Duration = Duration::from_secs(60);
/// Bytes in a path at most.
const PATH_BYTES_MAX: usize = 128;
/// Bytes in a header at most: a model's name is the longest.
const HEADER_BYTES_MAX: usize = ModelName::BYTES_MAX;

/// The head, well-formed. The method is always `POST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Without a query, as `/v1/chat/completions`.
    pub path: String,
    pub request_id: RequestId,
    pub model: ModelName,
    pub is_stream: bool,
    pub max_prompt_tokens: u64,
    /// Over all choices, reasoning included.
    pub max_tokens: u32,
    /// Nano-coins per million tokens: prompt, cached, completion.
    pub max_price: [u64; 3],
    pub not_after: Timestamp,
    pub pay_commit: [u8; 32],
}

/// A header that does not say what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {header} {reason}")]
pub struct HeadError {
    /// `:path` where it is the path.
    pub header: &'static str,
    pub reason: HeadFault,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    #[error("is missing")]
    Missing,
    #[error("is malformed")]
    Malformed,
    #[error("names a moment that has passed")]
    Late,
    #[error("names a moment too far ahead")]
    Early,
}

impl HeadFault {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Early => "early",
        }
    }
}

impl Head {
    /// Reads a head. `get` answers for a header that is there exactly once. Each value has one
    /// form, so that a head has one text: decimals without leading zeros, lower-case digits.
    pub fn read<'a>(path: &str, get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, HeadError> {
        let text = |header: &'static str| {
            let value = get(header).ok_or(HeadError { header, reason: HeadFault::Missing })?;
            let is_bounded = value.len() <= HEADER_BYTES_MAX;
            is_bounded.then_some(value).ok_or_else(|| malformed(header))
        };
        let number = |header| decimal(text(header)?).ok_or_else(|| malformed(header));
        Ok(Self {
            path: checked_path(path).ok_or_else(|| malformed(":path"))?.to_owned(),
            request_id: request_id(text(headers::REQUEST_ID)?)
                .ok_or_else(|| malformed(headers::REQUEST_ID))?,
            model: text(headers::MODEL)?.parse().map_err(|_| malformed(headers::MODEL))?,
            is_stream: match text(headers::STREAM)? {
                "0" => false,
                "1" => true,
                _ => return Err(malformed(headers::STREAM)),
            },
            max_prompt_tokens: number(headers::MAX_PROMPT_TOKENS)?,
            max_tokens: u32::try_from(number(headers::MAX_TOKENS)?)
                .map_err(|_| malformed(headers::MAX_TOKENS))?,
            max_price: prices(text(headers::MAX_PRICE)?)
                .ok_or_else(|| malformed(headers::MAX_PRICE))?,
            not_after: Timestamp::from_millis(number(headers::NOT_AFTER)?),
            pay_commit: digits(text(headers::PAY_COMMIT)?)
                .ok_or_else(|| malformed(headers::PAY_COMMIT))?,
        })
    }

    /// The headers, as [`Self::read`] takes them. They do not contain those of the seal itself.
    pub fn write(&self) -> Vec<(&'static str, String)> {
        let [prompt, cached, completion] = self.max_price;
        vec![
            (headers::REQUEST_ID, self.request_id.to_string()),
            (headers::MODEL, self.model.to_string()),
            (headers::STREAM, u8::from(self.is_stream).to_string()),
            (headers::MAX_PROMPT_TOKENS, self.max_prompt_tokens.to_string()),
            (headers::MAX_TOKENS, self.max_tokens.to_string()),
            (headers::MAX_PRICE, format!("{prompt},{cached},{completion}")),
            (headers::NOT_AFTER, self.not_after.as_millis().to_string()),
            (headers::PAY_COMMIT, hex::encode(self.pay_commit)),
        ]
    }

    /// What is authenticated with key and body: deterministic CBOR.
    pub fn aad(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.array(11).text(PROTOCOL).text("POST").text(&self.path);
        out.bytes(self.request_id.as_bytes()).text(self.model.as_str()).boolean(self.is_stream);
        out.unsigned(self.max_prompt_tokens).unsigned(self.max_tokens.into()).array(3);
        for price in self.max_price {
            out.unsigned(price);
        }
        out.unsigned(self.not_after.as_millis()).bytes(&self.pay_commit);
        out.into_bytes()
    }

    /// Whether the request's end is ahead, and not too far: five minutes, and what clocks differ
    /// by on top.
    pub fn check_time(&self, now: Timestamp) -> Result<(), HeadError> {
        let header = headers::NOT_AFTER;
        if now > self.not_after {
            return Err(HeadError { header, reason: HeadFault::Late });
        }
        if self.not_after > now.saturating_add(AHEAD_MAX).saturating_add(SKEW) {
            return Err(HeadError { header, reason: HeadFault::Early });
        }
        Ok(())
    }

    /// How long a worker remembers that it has seen the request.
    pub fn remembered_until(&self) -> Timestamp {
        self.not_after.saturating_add(SKEW)
    }
}

const fn malformed(header: &'static str) -> HeadError {
    HeadError { header, reason: HeadFault::Malformed }
}

fn checked_path(path: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let is_path = path.starts_with('/') && path.len() <= PATH_BYTES_MAX;
    (is_path && path.bytes().all(is_plain)).then_some(path)
}

/// Digits only, and no leading zero but for `0` itself.
fn decimal(text: &str) -> Option<u64> {
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_canonical.then(|| text.parse().ok()).flatten()
}

fn prices(text: &str) -> Option<[u64; 3]> {
    let mut rows = text.split(',').map(decimal);
    let prices = [rows.next()??, rows.next()??, rows.next()??];
    rows.next().is_none().then_some(prices)
}

fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (hex::encode(bytes) == text).then_some(bytes)
}

fn request_id(text: &str) -> Option<RequestId> {
    let id: RequestId = text.parse().ok()?;
    (id.to_string() == text).then_some(id)
}
