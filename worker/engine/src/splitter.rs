//! An answer's text taken apart: what is said, what is thought, which tools are called.
//!
//! Thinking stands between `<think>` and `</think>`, at the beginning only; calls stand as
//! [`CallFormat`] says. Text that only looks like a call comes out as content, unchanged.
//!
//! Invariants: a marker leaves only where no call was made of it; text that belongs to no call and
//! no thought leaves as content, except white space around them.

use std::collections::BTreeSet;
use std::sync::Arc;

use cocoon_engine_wire::Channel;

use crate::calls::{self, Call, CallFormat};

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL_END: &str = "</tool_call>";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Channel, String),
    Call(Call),
}

impl Piece {
    /// Bytes of text.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Text(_, text) => text.len(),
            Self::Call(_) => 0,
        }
    }
}

/// What an answer may consist of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    /// The model may begin by thinking.
    pub(crate) thinks: bool,
    /// The prompt has begun it already.
    pub(crate) thinking: bool,
    /// How calls are written; `None`: none is looked for.
    pub(crate) format: Option<CallFormat>,
    /// Names that may be called.
    pub(crate) tools: Arc<BTreeSet<String>>,
    /// Whatever begins like a call is one: what breaks off inside it is no content.
    pub(crate) calls_are_sure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far: thinking may begin.
    Start,
    /// The same, and only a call or content may.
    Opening,
    Content,
    Reasoning,
    /// Behind a marker.
    Call,
    /// Inside what began like a call without a marker.
    BareCall,
}

#[derive(Debug, Clone)]
pub(crate) struct Splitter {
    state: State,
    parts: Parts,
    held: String,
    /// White space that comes next is layout, not content.
    skip_space: bool,
    called: bool,
}

impl Splitter {
    pub(crate) fn new(mut parts: Parts) -> Self {
        if parts.tools.is_empty() {
            parts.format = None;
        }
        let state = match (parts.thinks, parts.thinking) {
            (true, true) => State::Reasoning,
            (true, false) => State::Start,
            (false, _) => State::Opening,
        };
        let skip_space = parts.thinking;
        Self { state, parts, held: String::new(), skip_space, called: false }
    }

    pub(crate) fn is_reasoning(&self) -> bool {
        self.state == State::Reasoning
    }

    /// What stands behind the marker of a call that has begun, or the whole of one that has none.
    pub(crate) fn begun_call(&self) -> Option<&str> {
        let is_call = matches!(self.state, State::Call | State::BareCall);
        is_call.then_some(self.held.as_str())
    }

    /// Whether the call that has begun has no marker.
    pub(crate) fn is_bare_call(&self) -> bool {
        self.state == State::BareCall
    }

    /// Bytes that came and have not left, and will not yet.
    pub(crate) fn held_bytes(&self) -> usize {
        let format = self.parts.format.filter(|_| self.state == State::Call);
        self.held.len() + format.map_or(0, |format| format.marker().len())
    }

    /// Whether all that came has left or was layout.
    pub(crate) fn is_between(&self) -> bool {
        self.skip_space && self.held.is_empty()
    }

    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.advance(&mut pieces) {}
        pieces
    }

    /// The rest, when the model has ended; `cut`: its limit ended it.
    pub(crate) fn finish(&mut self, cut: bool) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Call | State::BareCall => self.last_call(&rest, cut),
            // Layout around calls is nobody's text.
            _ if self.called && rest.trim().is_empty() => Vec::new(),
            State::Reasoning => text(Channel::Reasoning, rest),
            State::Start | State::Opening | State::Content => text(Channel::Content, rest),
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
            State::Opening => self.opening(),
            State::Content => self.content(pieces),
            State::Reasoning => self.reasoning(pieces),
            State::Call => self.inside_call(pieces),
            State::BareCall => false,
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
        self.state = State::Opening;
        true
    }

    fn opening(&mut self) -> bool {
        let begins = match self.parts.format {
            Some(CallFormat::Llama) => calls::begins_call(&self.held),
            _ => Some(false),
        };
        let Some(begins) = begins else { return false };
        self.state = if begins { State::BareCall } else { State::Content };
        true
    }

    fn content(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some(format) = self.parts.format else {
            let all = self.held.len();
            return self.release(Channel::Content, all, pieces);
        };
        let marker = format.marker();
        if let Some(place) = self.held.find(marker) {
            let said = self.held[..place].trim_end().to_owned();
            pieces.extend(text(Channel::Content, said));
            self.held.drain(..place + marker.len());
            self.state = State::Call;
            self.skip_space = false;
            return true;
        }
        // White space is content only if no call follows it.
        let sure = self.held.len() - overlap(&self.held, marker);
        let sure = self.held[..sure].trim_end().len();
        self.release(Channel::Content, sure, pieces)
    }

    fn reasoning(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if let Some(place) = self.held.find(THINK_END) {
            let thought = self.held[..place].trim_end().to_owned();
            pieces.extend(text(Channel::Reasoning, thought));
            self.held.drain(..place + THINK_END.len());
            self.state = State::Opening;
            self.skip_space = true;
            return true;
        }
        let sure = self.held.len() - overlap(&self.held, THINK_END);
        let sure = self.held[..sure].trim_end().len();
        self.release(Channel::Reasoning, sure, pieces)
    }

    /// Hermes' calls have an end of their own; the others' is the answer's.
    fn inside_call(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.parts.format != Some(CallFormat::Hermes) {
            return false;
        }
        let ends = self.held.match_indices(CALL_END).map(|(place, _)| place);
        // An end inside of a string of the call's arguments is none.
        let Some(place) = ends.into_iter().find(|place| !breaks_off(&self.held[..*place])) else {
            return false;
        };
        let body: String = self.held.drain(..place + CALL_END.len()).collect();
        let piece = self.call(&body[..place]);
        self.called |= piece.is_some();
        let shown = || Piece::Text(Channel::Content, format!("<tool_call>{body}"));
        pieces.push(piece.map_or_else(shown, Piece::Call));
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

    /// The one call that `body` is.
    fn call(&self, body: &str) -> Option<Call> {
        let (mut calls, rest) = calls::read(body, &self.parts.tools)?;
        (calls.len() == 1 && rest.is_empty()).then(|| calls.remove(0))
    }

    /// The answer has ended inside a call, or inside several.
    fn last_call(&mut self, body: &str, cut: bool) -> Vec<Piece> {
        let tools = &self.parts.tools;
        let (calls, rest) = calls::read(body, tools).unwrap_or((Vec::new(), body));
        let broken = if cut { calls::read_broken(rest, tools) } else { None };
        let is_whole = broken.is_some() || rest.trim().is_empty();
        if calls.is_empty() && broken.is_none() {
            if self.parts.calls_are_sure {
                return Vec::new();
            }
            let format = self.parts.format.filter(|_| self.state == State::Call);
            let marker = format.map_or("", CallFormat::marker);
            return text(Channel::Content, format!("{marker}{body}"));
        }
        self.called = true;
        let mut pieces: Vec<Piece> = calls.into_iter().chain(broken).map(Piece::Call).collect();
        if !is_whole && !self.parts.calls_are_sure {
            pieces.extend(text(Channel::Content, rest.to_owned()));
        }
        pieces
    }
}

/// Whether this is the beginning of a JSON value and not the whole of one.
fn breaks_off(body: &str) -> bool {
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(body.trim());
    parsed.is_err_and(|error| error.is_eof())
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
mod tests;
