//! What a schema cannot say of a stream: the order of its events, and what has to come at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The order of one stream's events.
#[derive(Debug)]
pub(super) struct Order {
    kind: Kind,
    is_done: bool,
    /// An error was told: nothing but an end may follow.
    has_failed: bool,
}

#[derive(Debug)]
enum Kind {
    Chunks(Chunks),
    Numbered(Numbered),
}

impl Order {
    pub(super) fn new(operation: &str, asked: &[u8]) -> Self {
        let asked: Value = serde_json::from_slice(asked).unwrap_or_default();
        let kind = if operation == "createResponse" {
            Kind::Numbered(Numbered::default())
        } else {
            Kind::Chunks(Chunks {
                has_role: operation == "createChatCompletion",
                wants_usage: asked["stream_options"]["include_usage"] == true,
                ..Chunks::default()
            })
        };
        Self { kind, is_done: false, has_failed: false }
    }

    pub(super) fn event(&mut self, name: Option<&str>, data: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        if self.is_done {
            faults.push("an event after [DONE]".to_owned());
        }
        match &mut self.kind {
            Kind::Chunks(_) if self.has_failed => {
                faults.push("an event after the error".to_owned());
            }
            Kind::Chunks(_) if data.get("error").is_some() => self.has_failed = true,
            Kind::Chunks(chunks) => chunks.event(data, &mut faults),
            Kind::Numbered(numbered) => numbered.event(name, data, &mut faults),
        }
        faults
    }

    pub(super) fn done(&mut self) -> Vec<String> {
        let faults = if self.is_done { vec!["[DONE] came twice".to_owned()] } else { Vec::new() };
        self.is_done = true;
        faults
    }

    /// A clean end: everything that has to come has come.
    pub(super) fn end(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.is_done {
            faults.push("a clean end without [DONE]".to_owned());
        }
        if self.has_failed {
            faults.push("a stream that failed ends as if it were complete".to_owned());
        }
        match &self.kind {
            Kind::Chunks(chunks) => chunks.end(&mut faults),
            Kind::Numbered(numbered) if numbered.terminal.is_none() => {
                faults.push("a clean end without a terminal event".to_owned());
            }
            Kind::Numbered(_) => {}
        }
        faults
    }
}

/// Chat completions and completions.
#[derive(Debug, Default)]
struct Chunks {
    has_role: bool,
    wants_usage: bool,
    heads: BTreeSet<String>,
    choices: BTreeMap<u64, bool>,
    has_usage: bool,
}

impl Chunks {
    fn event(&mut self, data: &Value, faults: &mut Vec<String>) {
        if self.has_usage {
            faults.push("a chunk after the usage".to_owned());
        }
        self.heads.insert(format!("{} {} {}", data["id"], data["created"], data["model"]));
        if self.heads.len() > 1 {
            faults.push(format!("the chunks differ in id, created or model: {:?}", self.heads));
        }
        if self.wants_usage != data.get("usage").is_some() {
            faults
                .push("usage stands in all chunks where it was asked for, else in none".to_owned());
        }
        let choices = data["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has_usage = data["usage"].is_object();
        if has_usage != choices.is_empty() {
            faults.push("the usage has a chunk of its own".to_owned());
        }
        self.has_usage |= has_usage;
        for choice in choices {
            self.choice(choice, faults);
        }
    }

    fn choice(&mut self, choice: &Value, faults: &mut Vec<String>) {
        let index = choice["index"].as_u64().unwrap_or(u64::MAX);
        if !self.choices.contains_key(&index)
            && self.has_role
            && choice["delta"]["role"] != "assistant"
        {
            faults.push(format!("the first delta of choice {index} has no role"));
        }
        let has_ended = self.choices.entry(index).or_default();
        if *has_ended {
            faults.push(format!("choice {index} goes on after its finish_reason"));
        }
        *has_ended |= choice["finish_reason"].is_string();
    }

    fn end(&self, faults: &mut Vec<String>) {
        if self.choices.is_empty() || self.choices.values().any(|has_ended| !has_ended) {
            faults.push(format!("not every choice has a finish_reason: {:?}", self.choices));
        }
        if self.wants_usage != self.has_usage {
            faults.push("the usage that was asked for did not come".to_owned());
        }
    }
}

/// Responses.
#[derive(Debug, Default)]
struct Numbered {
    next: u64,
    terminal: Option<String>,
    has_error: bool,
}

impl Numbered {
    fn event(&mut self, name: Option<&str>, data: &Value, faults: &mut Vec<String>) {
        let kind = data["type"].as_str().unwrap_or_default();
        if name != Some(kind) {
            faults.push(format!("the event is called {name:?} and its type is {kind}"));
        }
        if data["sequence_number"] != self.next {
            faults.push(format!(
                "sequence number {} where {} is next",
                data["sequence_number"], self.next
            ));
        }
        let begins = ["response.created", "response.in_progress"];
        let place = usize::try_from(self.next).unwrap_or(usize::MAX);
        if begins.get(place).is_some_and(|expected| *expected != kind) && kind != "error" {
            faults.push(format!("event {place} is {kind}"));
        }
        self.next += 1;
        if let Some(terminal) = &self.terminal {
            faults.push(format!("{kind} after {terminal}"));
        }
        if self.has_error != (kind == "response.failed") {
            faults.push("`error` and `response.failed` come together, in this order".to_owned());
        }
        self.has_error = kind == "error";
        if ["response.completed", "response.incomplete", "response.failed"].contains(&kind) {
            let status = kind.trim_start_matches("response.");
            if data["response"]["status"] != status {
                faults.push(format!("{kind} with status {}", data["response"]["status"]));
            }
            self.terminal = Some(kind.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use serde_json::json;

    use crate::contract::Judge;

    const ID: &str = "chatcmpl-00000000000000000000000000000000";
    const REQUEST: &str = "req_00000000000000000000000000000000";

    /// Whether a stream of chat chunks with these choices, and `[DONE]`, passes.
    fn passes(chunks: &[serde_json::Value]) -> bool {
        let mut text = String::new();
        for choices in chunks {
            let chunk = json!({ "id": ID, "object": "chat.completion.chunk", "created": 1,
                "model": "m", "choices": choices });
            text += &format!("data: {chunk}\n\n");
        }
        text += "data: [DONE]\n\n";
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("x-request-id", REQUEST),
            ("cocoon-receipt-id", REQUEST),
            ("openai-processing-ms", "1"),
            ("openai-version", "2020-10-01"),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        let judged = std::panic::catch_unwind(|| {
            let path = "/v1/chat/completions";
            let mut judge = Judge::new(&Method::POST, path, b"{}", 200, &headers);
            // However the bytes are cut.
            text.as_bytes().chunks(7).for_each(|piece| judge.feed(piece));
            judge.end();
        });
        judged.is_ok()
    }

    #[test]
    fn an_injected_bad_frame_fails_the_stream() {
        let choice = |delta: serde_json::Value, reason: serde_json::Value| json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        let role = choice(json!({ "role": "assistant", "content": "" }), json!(null));
        let text = choice(json!({ "content": "a" }), json!(null));
        let stop = choice(json!({}), json!("stop"));
        assert!(passes(&[role.clone(), text.clone(), stop.clone()]));
        for (why, bad) in [
            ("no finish_reason", vec![role.clone(), text.clone()]),
            ("two of them", vec![role.clone(), stop.clone(), stop.clone()]),
            ("no role", vec![text.clone(), stop.clone()]),
            ("usage unasked", vec![role.clone(), stop.clone(), json!([])]),
            ("a word that is no reason", vec![role.clone(), choice(json!({}), json!("gone"))]),
            (
                "content of the wrong type",
                vec![role.clone(), choice(json!({ "content": 1 }), json!(null)), stop.clone()],
            ),
            ("a key is missing", vec![role, json!([{ "index": 0, "delta": {} }]), stop]),
        ] {
            assert!(!passes(&bad), "{why}");
        }
    }
}
