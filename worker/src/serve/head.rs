//! What the gateway fixed for a request: the headers without which no answer starts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cocoon_attest::receipt::Terms;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::{RequestId, Timestamp};
use cocoon_uplink_wire::headers;
use http::HeaderMap;

use super::refusal::Refusal;
use crate::uplink::LeaseContext;

/// The head of a request, read and well-formed.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) request_id: RequestId,
    pub(super) attempt: u32,
    /// Completion tokens of all choices at most: the header's limit, never above the terms'. At
    /// least 1, but for embeddings, which have none.
    pub(super) tokens_max: u32,
    pub(super) terms: Terms,
}

impl Head {
    pub(super) fn read(endpoint: Endpoint, map: &HeaderMap) -> Result<Self, Refusal> {
        let terms = URL_SAFE_NO_PAD
            .decode(text(map, headers::TERMS)?)
            .ok()
            .and_then(|bytes| Terms::decode(&bytes).ok())
            .ok_or_else(|| Refusal::bad_head(headers::TERMS))?;
        let tokens_max: u32 = parsed(map, headers::MAX_TOKENS)?;
        let terms_max = u32::try_from(terms.max_completion_tokens).unwrap_or(u32::MAX);
        let tokens_max = tokens_max.min(terms_max);
        if tokens_max == 0 && endpoint != Endpoint::Embeddings {
            return Err(Refusal::bad_head(headers::MAX_TOKENS));
        }
        let request_id = parsed(map, headers::REQUEST_ID)?;
        Ok(Self { request_id, attempt: parsed(map, headers::ATTEMPT)?, tokens_max, terms })
    }

    /// Refuses terms that pay another worker or that came too late.
    pub(super) fn admit(&self, lease: &LeaseContext, now: Timestamp) -> Result<(), Refusal> {
        if self.terms.payee != lease.payee {
            return Err(Refusal::internal("the request pays another worker"));
        }
        if now > self.terms.not_after {
            return Err(Refusal::internal("the request came after its deadline"));
        }
        Ok(())
    }
}

fn text<'a>(map: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    let mut values = map.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Refusal::bad_head(name)),
        _ => Err(Refusal::bad_head(name)),
    }
}

fn parsed<T: std::str::FromStr>(map: &HeaderMap, name: &'static str) -> Result<T, Refusal> {
    text(map, name)?.parse().map_err(|_| Refusal::bad_head(name))
}
