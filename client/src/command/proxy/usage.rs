//! The usage that an answer itself tells, read as it passes by, to be compared with its receipt.

use cocoon_attest::receipt::Usage;
use cocoon_openai_wire::sse::Decoder;
use serde::Deserialize;

/// An event with a whole response in it has as much.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// What an answer said about its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct ToldUsage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: u64,
    #[serde(alias = "output_tokens", default)]
    completion_tokens: u64,
}

impl ToldUsage {
    pub(super) fn agrees(self, usage: &Usage) -> bool {
        self.prompt_tokens == usage.prompt && self.completion_tokens == usage.completion
    }
}

/// The two places of a usage object: beside the choices, or inside of a Responses event.
#[derive(Deserialize)]
struct Carrier {
    #[serde(default)]
    usage: Option<ToldUsage>,
    #[serde(default)]
    response: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    usage: Option<ToldUsage>,
}

/// Follows an event stream; the last usage counts.
pub(super) struct UsageWatch {
    decoder: Option<Decoder>,
    last: Option<ToldUsage>,
}

impl UsageWatch {
    pub(super) fn new() -> Self {
        Self { decoder: Some(Decoder::new(EVENT_BYTES_MAX)), last: None }
    }

    /// A stream that cannot be read as events tells nothing.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let Some(decoder) = &mut self.decoder else { return };
        decoder.push(piece);
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => {
                    if let Some(usage) = of_json(event.data.as_bytes()) {
                        self.last = Some(usage);
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.decoder = None;
                    return;
                }
            }
        }
    }

    pub(super) fn last(&self) -> Option<ToldUsage> {
        self.last
    }
}

/// The usage in a whole answer, or in one event.
pub(super) fn of_json(text: &[u8]) -> Option<ToldUsage> {
    // Most events have none, and looking is cheaper than parsing.
    if !text.windows(7).any(|part| part == b"\"usage\"") {
        return None;
    }
    let carrier: Carrier = serde_json::from_slice(text).ok()?;
    carrier.usage.or(carrier.response.and_then(|inner| inner.usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(prompt_tokens: u64, completion_tokens: u64) -> Option<ToldUsage> {
        Some(ToldUsage { prompt_tokens, completion_tokens })
    }

    #[test]
    fn usage_is_found_in_every_endpoint_s_shape() {
        for (text, usage) in [
            (r#"{"id":"x","usage":{"prompt_tokens":3,"completion_tokens":4}}"#, told(3, 4)),
            (r#"{"usage":{"prompt_tokens":3,"total_tokens":3}}"#, told(3, 0)),
            (r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#, told(3, 4)),
            (r#"{"response":{"usage":{"input_tokens":1,"output_tokens":2}}}"#, told(1, 2)),
            (r#"{"usage":null}"#, None),
            (r#"{"choices":[]}"#, None),
            ("not \"usage\" json", None),
        ] {
            assert_eq!(of_json(text.as_bytes()), usage, "{text}");
        }
    }

    #[test]
    fn the_last_usage_of_a_stream_counts_however_it_is_split() {
        let stream = "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n\
                      data: {\"usage\":null}\n\n\
                      data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        for size in [1, 7, 1000] {
            let mut watch = UsageWatch::new();
            for piece in stream.as_bytes().chunks(size) {
                watch.push(piece);
            }
            assert_eq!(watch.last(), told(1, 2));
        }
    }
}
