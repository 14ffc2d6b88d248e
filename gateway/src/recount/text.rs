//! The text of an answer, taken out of the payloads that went to the client.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::sse;
use serde_json::Value;

/// Longer than any event that a worker sends.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// What an answer says, part by part: a part is what was generated in one go.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    /// By choice, kind and number.
    pub(super) texts: BTreeMap<(u64, Kind, u64), String>,
    /// Those that the request asked for; an index beyond is the worker's invention.
    choices: BTreeSet<u64>,
    /// Choice and number of each call that has a name.
    calls: BTreeSet<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Content,
    Reasoning,
    Call,
}

impl Spoken {
    /// The answer to a request for so many choices; `None` where the payloads are none of this
    /// endpoint.
    pub(super) fn read(
        endpoint: Endpoint,
        is_streamed: bool,
        choices: u32,
        payloads: &[Bytes],
    ) -> Option<Self> {
        let mut spoken = Self::default();
        if is_streamed {
            let mut decoder = sse::Decoder::new(EVENT_BYTES_MAX);
            for payload in payloads {
                decoder.push(payload);
                while let Some(event) = decoder.next_event().ok()? {
                    if !event.is_done() {
                        spoken.take(endpoint, &serde_json::from_str(&event.data).ok()?);
                    }
                }
            }
        } else {
            let whole: Vec<u8> = payloads.concat();
            spoken.take(endpoint, &serde_json::from_slice(&whole).ok()?);
        }
        if spoken.choices.is_empty() {
            return None;
        }
        spoken.choices.retain(|index| *index < u64::from(choices));
        spoken.calls.retain(|(index, _)| *index < u64::from(choices));
        Some(spoken)
    }

    pub(super) fn choices(&self) -> u64 {
        u64::try_from(self.choices.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn calls(&self) -> u64 {
        u64::try_from(self.calls.len()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, endpoint: Endpoint, json: &Value) {
        match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => self.chosen(json),
            Endpoint::Responses => self.response(json),
            Endpoint::Embeddings => {}
        }
    }

    fn chosen(&mut self, json: &Value) {
        let choices = json.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            self.choices.insert(index);
            self.push(index, Kind::Content, 0, choice.get("text"));
            let Some(said) = choice.get("message").or_else(|| choice.get("delta")) else {
                continue;
            };
            self.push(index, Kind::Content, 0, said.get("content"));
            for key in ["reasoning_content", "reasoning"] {
                self.push(index, Kind::Reasoning, 0, said.get(key));
            }
            let calls = said.get("tool_calls").and_then(Value::as_array);
            for (place, call) in (0..).zip(calls.into_iter().flatten()) {
                let number = call.get("index").and_then(Value::as_u64).unwrap_or(place);
                self.call(index, number, call.get("function"));
            }
            self.call(index, 0, said.get("function_call"));
        }
    }

    /// A whole response, or the event that ends a stream with one.
    fn response(&mut self, json: &Value) {
        let response = match json.get("type").and_then(Value::as_str) {
            Some("response.completed" | "response.incomplete") => json.get("response"),
            Some(_) => None,
            None => Some(json),
        };
        let Some(response) = response else { return };
        self.choices.insert(0);
        let output = response.get("output").and_then(Value::as_array);
        for (number, item) in (0..).zip(output.into_iter().flatten()) {
            let kind = item.get("type").and_then(Value::as_str);
            if kind == Some("function_call") {
                self.call(0, number, Some(item));
            }
            let kind = if kind == Some("reasoning") { Kind::Reasoning } else { Kind::Content };
            for parts in [item.get("content"), item.get("summary")] {
                for part in parts.and_then(Value::as_array).into_iter().flatten() {
                    self.push(0, kind, number, part.get("text"));
                }
            }
        }
    }

    fn call(&mut self, choice: u64, number: u64, function: Option<&Value>) {
        let Some(function) = function.filter(|function| function.is_object()) else { return };
        if function.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty()) {
            self.calls.insert((choice, number));
        }
        self.push(choice, Kind::Call, number, function.get("name"));
        self.push(choice, Kind::Call, number, function.get("arguments"));
    }

    fn push(&mut self, choice: u64, kind: Kind, number: u64, text: Option<&Value>) {
        let Some(text) = text.and_then(Value::as_str).filter(|text| !text.is_empty()) else {
            return;
        };
        self.texts.entry((choice, kind, number)).or_default().push_str(text);
    }
}
