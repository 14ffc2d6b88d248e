//! An answer's text taken apart: what is said, what is thought, which tools are called.
//!
//! Thinking stands between `<think>` and `</think>`, at the beginning only; a call between
//! `<tool_call>` and `</tool_call>` as `{"name": …, "arguments": …}`, the form of Qwen and Hermes.
//! Text that only looks like a call comes out as content, unchanged.

use std::collections::BTreeSet;

use cocoon_engine_wire::Channel;
use serde::Deserialize;
use serde_json::value::RawValue;

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Channel, String),
    /// `arguments` is JSON text as the model wrote it.
    Call {
        name: String,
        arguments: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far: thinking may begin.
    Start,
    Content,
    Reasoning,
    Call,
}

#[derive(Debug)]
pub(crate) struct Splitter {
    state: State,
    /// Names that may be called; empty: no call is looked for.
    tools: BTreeSet<String>,
    held: String,
    /// White space that comes next is layout, not content.
    skip_space: bool,
    called: bool,
}

impl Splitter {
    /// `thinks`: the model may begin by thinking. `thinking`: the prompt has begun it already.
    pub(crate) fn new(tools: BTreeSet<String>, thinks: bool, thinking: bool) -> Self {
        let state = match (thinks, thinking) {
            (true, true) => State::Reasoning,
            (true, false) => State::Start,
            (false, _) => State::Content,
        };
        Self { state, tools, held: String::new(), skip_space: thinking, called: false }
    }

    pub(crate) fn is_reasoning(&self) -> bool {
        self.state == State::Reasoning
    }

    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.advance(&mut pieces) {}
        pieces
    }

    /// The rest, when the model has ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Call => vec![self.call(&rest, "")],
            // Layout around calls is nobody's text.
            _ if self.called && rest.trim().is_empty() => Vec::new(),
            State::Reasoning => text(Channel::Reasoning, rest),
            State::Start | State::Content => text(Channel::Content, rest),
        }
    }

    /// One step; whether another may follow.
    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.skip_space {
            let space = self.held.len() - self.held.trim_start().len();
            self.held.drain(..space);
            if self.held.is_empty() {
                return false;
            }
        }
        match self.state {
            State::Start => self.start(),
            State::Content => self.content(pieces),
            State::Reasoning => self.reasoning(pieces),
            State::Call => self.inside_call(pieces),
        }
    }

    fn start(&mut self) -> bool {
        let said = self.held.trim_start();
        if let Some(rest) = said.strip_prefix(THINK) {
            self.held = rest.to_owned();
            self.state = State::Reasoning;
            self.skip_space = true;
            return true;
        }
        if THINK.starts_with(said) {
            return false;
        }
        self.state = State::Content;
        true
    }

    fn content(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.tools.is_empty() {
            let all = self.held.len();
            return self.release(Channel::Content, all, pieces);
        }
        if let Some(place) = self.held.find(CALL) {
            let said = self.held[..place].trim_end().to_owned();
            pieces.extend(text(Channel::Content, said));
            self.held.drain(..place + CALL.len());
            self.state = State::Call;
            self.skip_space = false;
            return true;
        }
        // White space is content only if no call follows it.
        let sure = self.held.len() - overlap(&self.held, CALL);
        let sure = self.held[..sure].trim_end().len();
        self.release(Channel::Content, sure, pieces)
    }

    fn reasoning(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if let Some(place) = self.held.find(THINK_END) {
            let thought = self.held[..place].trim_end().to_owned();
            pieces.extend(text(Channel::Reasoning, thought));
            self.held.drain(..place + THINK_END.len());
            self.state = State::Content;
            self.skip_space = true;
            return true;
        }
        let sure = self.held.len() - overlap(&self.held, THINK_END);
        let sure = self.held[..sure].trim_end().len();
        self.release(Channel::Reasoning, sure, pieces)
    }

    fn inside_call(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some(place) = self.held.find(CALL_END) else { return false };
        let body: String = self.held.drain(..place + CALL_END.len()).collect();
        let piece = self.call(&body[..place], CALL_END);
        pieces.push(piece);
        self.state = State::Content;
        self.skip_space = self.called;
        true
    }

    fn release(&mut self, channel: Channel, bytes: usize, pieces: &mut Vec<Piece>) -> bool {
        if bytes > 0 {
            self.skip_space = false;
            pieces.extend(text(channel, self.held.drain(..bytes).collect()));
        }
        false
    }

    fn call(&mut self, body: &str, end: &str) -> Piece {
        let parsed = serde_json::from_str::<Call>(body.trim()).ok();
        match parsed.filter(|call| self.tools.contains(&call.name)) {
            Some(call) => {
                self.called = true;
                Piece::Call { arguments: call.arguments(), name: call.name }
            }
            None => Piece::Text(Channel::Content, format!("{CALL}{body}{end}")),
        }
    }
}

#[derive(Deserialize)]
struct Call {
    name: String,
    #[serde(alias = "parameters")]
    arguments: Option<Box<RawValue>>,
}

impl Call {
    /// Some models write the arguments as a string of JSON.
    fn arguments(&self) -> String {
        let Some(raw) = &self.arguments else { return "{}".to_owned() };
        serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
    }
}

fn text(channel: Channel, text: String) -> Vec<Piece> {
    if text.is_empty() { Vec::new() } else { vec![Piece::Text(channel, text)] }
}

/// Bytes at the end of `text` that may be the beginning of `marker`.
fn overlap(text: &str, marker: &str) -> usize {
    let longest = text.len().min(marker.len() - 1);
    (1..=longest).rev().find(|&bytes| text.ends_with(&marker[..bytes])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every answer of up to `length` of these parts.
    ///
    /// Exhaustive in place of random: proptest would change features deep in mistral.rs' graph,
    /// and the suite would compile all of it a second time.
    fn answers(parts: &[&str], length: u32) -> impl Iterator<Item = String> {
        let base = u32::try_from(parts.len()).unwrap();
        let count = move |length: u32| base.pow(length);
        (0..=length).flat_map(move |length| (0..count(length)).map(move |code| (length, code))).map(
            move |(length, code)| {
                (0..length)
                    .map(|place| parts[usize::try_from(code / count(place) % base).unwrap()])
                    .collect()
            },
        )
    }

    /// Content, thoughts and calls of `answer`, pushed in pieces of `size` characters.
    fn split(answer: &str, size: usize, thinks: bool) -> (String, String, Vec<(String, String)>) {
        let tools = BTreeSet::from(["f".to_owned()]);
        let mut splitter = Splitter::new(tools, thinks, false);
        let characters: Vec<char> = answer.chars().collect();
        let mut pieces = Vec::new();
        for part in characters.chunks(size) {
            pieces.extend(splitter.push(&part.iter().collect::<String>()));
        }
        pieces.extend(splitter.finish());
        let (mut content, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text(Channel::Content, text) => content += &text,
                Piece::Text(Channel::Reasoning, text) => thoughts += &text,
                Piece::Call { name, arguments } => calls.push((name, arguments)),
            }
        }
        (content, thoughts, calls)
    }

    #[test]
    fn answers_come_apart_however_they_arrive() {
        const F: &str =
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1,\"a\":2}}\n</tool_call>";
        let twice = format!("Sure. \n{F}\n{F}\n");
        let unclosed = F.strip_suffix("</tool_call>").unwrap();
        let arguments = "{\"b\": 1,\"a\":2}";
        let cases: [(&str, &str, &str, usize); 8] = [
            ("hello\n\nworld \n", "hello\n\nworld \n", "", 0),
            (F, "", "", 1),
            (&twice, "Sure.", "", 2),
            (unclosed, "", "", 1),
            ("a <tool_call>{</tool_call> b", "a<tool_call>{</tool_call> b", "", 0),
            (
                "<tool_call>{\"name\":\"g\"}</tool_call>",
                "<tool_call>{\"name\":\"g\"}</tool_call>",
                "",
                0,
            ),
            (" <think>\nwhy <x\n</think>\n\nbecause", "because", "why <x", 0),
            ("a <think>b</think>", "a <think>b</think>", "", 0),
        ];
        for (answer, content, thoughts, calls) in cases {
            for size in [1, 2, 7, 1000] {
                let expected = vec![("f".to_owned(), arguments.to_owned()); calls];
                let found = split(answer, size, true);
                assert_eq!(found, (content.to_owned(), thoughts.to_owned(), expected), "{answer}");
            }
        }
    }

    #[test]
    fn arguments_may_be_text_or_missing() {
        let call = |body: &str| split(&format!("<tool_call>{body}</tool_call>"), 3, false).2;
        let f = |arguments: &str| vec![("f".to_owned(), arguments.to_owned())];
        assert_eq!(call(r#"{"name":"f","arguments":"{\"a\":1}"}"#), f(r#"{"a":1}"#));
        assert_eq!(call(r#"{"name":"f","parameters":{"a":1}}"#), f(r#"{"a":1}"#));
        assert_eq!(call(r#"{"name":"f"}"#), f("{}"));
    }

    #[test]
    fn without_markers_every_character_comes_out() {
        for answer in answers(&["a", "<", ">", "/", " ", "\n", "</think", "<tool_cal"], 4) {
            for size in [1, 2, 5] {
                assert_eq!(split(&answer, size, false).0, answer);
            }
        }
    }

    #[test]
    fn nothing_panics() {
        let parts = [
            "<tool_call>",
            "</tool_call>",
            "<think>",
            "</think>",
            "{\"name\":\"f\"}",
            "{",
            "é<",
            " ",
        ];
        for answer in answers(&parts, 4) {
            for (size, thinks) in [(1, true), (3, false), (8, true)] {
                split(&answer, size, thinks);
            }
        }
    }
}
