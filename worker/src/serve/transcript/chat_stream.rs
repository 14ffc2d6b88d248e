//! A chat completion as server-sent events: per choice a first chunk with the role, one per delta
//! and the finish; then usage if asked, and the end.
//!
//! Deltas that arrive before anybody takes them are merged, so a slow reader gets fewer and
//! longer chunks rather than a queue.

use cocoon_openai_wire::chat::{
    ChatCompletionChunk, ChunkChoice, Delta, ToolCallDelta, ToolFunctionDelta, Usage,
};
use cocoon_openai_wire::sse;

use super::{Call, Facts, chat_finish, logprobs_of, place};
use crate::engine::{self, Channel, FinishReason, TokenLogprob};
use crate::serve::chat::ChatShape;
use crate::serve::padding::Padding;

/// An answer that leaves piece by piece.
pub(in crate::serve) struct ChatStream {
    facts: Facts,
    shape: ChatShape,
    padding: Padding,
    choices: Vec<Progress>,
    /// Events that are complete.
    ready: Vec<u8>,
}

/// How far one choice has come.
#[derive(Default)]
struct Progress {
    has_begun: bool,
    has_calls: bool,
    /// The delta that still grows.
    open: Option<Open>,
}

struct Open {
    channel: Channel,
    text: String,
    logprobs: Vec<TokenLogprob>,
}

impl ChatStream {
    pub(super) fn new(shape: ChatShape, facts: Facts) -> Self {
        let mut choices = Vec::new();
        choices.resize_with(place(shape.choices), Progress::default);
        let (padding, ready) = (Padding::new(0), Vec::new());
        let mut stream = Self { facts, shape, padding, choices, ready };
        let empty = Delta { content: Some(String::new()), ..Delta::default() };
        let empty = stream.json(vec![chunk(0, empty, None)], stream.no_usage());
        stream.padding = Padding::of_events(empty.len());
        stream
    }

    pub(super) fn delta(
        &mut self,
        choice: u32,
        channel: Channel,
        text: &str,
        logprobs: Vec<TokenLogprob>,
    ) {
        let is_shown = self.shape.has_logprobs && channel == Channel::Content;
        let logprobs = if is_shown { logprobs } else { Vec::new() };
        if text.is_empty() && logprobs.is_empty() {
            return;
        }
        let Some(progress) = self.choices.get_mut(place(choice)) else { return };
        if let Some(open) = &mut progress.open
            && open.channel == channel
        {
            open.text.push_str(text);
            open.logprobs.extend(logprobs);
            return;
        }
        let open = Open { channel, text: text.to_owned(), logprobs };
        if let Some(before) = progress.open.replace(open) {
            self.write(choice, before);
        }
    }

    pub(super) fn call(&mut self, choice: u32, call: Call) {
        self.close(choice);
        self.begin(choice);
        if let Some(progress) = self.choices.get_mut(place(choice)) {
            progress.has_calls = true;
        }
        let delta = if self.shape.has_functions {
            let (name, arguments) = (Some(call.name), Some(call.arguments));
            let function_call = Some(ToolFunctionDelta { name, arguments });
            Delta { function_call, ..Delta::default() }
        } else {
            let call = ToolCallDelta::whole(call.index, call.id, call.name, call.arguments);
            Delta { tool_calls: vec![call], ..Delta::default() }
        };
        self.event(chunk(choice, delta, None));
    }

    pub(super) fn has_calls(&self, choice: u32) -> bool {
        self.choices.get(place(choice)).is_some_and(|progress| progress.has_calls)
    }

    pub(super) fn end_choice(&mut self, choice: u32, finish: FinishReason) {
        self.close(choice);
        self.begin(choice);
        self.event(chunk(
            choice,
            Delta::default(),
            Some(chat_finish(finish, self.shape.has_functions)),
        ));
    }

    pub(super) fn take_ready(&mut self) -> Option<Vec<u8>> {
        for choice in 0..self.shape.choices {
            self.close(choice);
        }
        (!self.ready.is_empty()).then(|| std::mem::take(&mut self.ready))
    }

    pub(super) fn finish(&mut self, usage: engine::Usage) -> Vec<u8> {
        if self.shape.has_usage_chunk {
            let json = self.json(Vec::new(), Some(Some(super::chat_usage(usage))));
            sse::encode(&mut self.ready, &json);
        }
        self.ready.extend_from_slice(sse::DONE);
        std::mem::take(&mut self.ready)
    }

    /// Writes the delta that grew so far.
    fn close(&mut self, choice: u32) {
        let open = self.choices.get_mut(place(choice)).and_then(|progress| progress.open.take());
        if let Some(open) = open {
            self.write(choice, open);
        }
    }

    fn write(&mut self, choice: u32, open: Open) {
        self.begin(choice);
        let is_shown = self.shape.has_logprobs && open.channel == Channel::Content;
        let delta = match open.channel {
            Channel::Content => Delta { content: Some(open.text), ..Delta::default() },
            Channel::Reasoning => Delta { reasoning_content: Some(open.text), ..Delta::default() },
        };
        let logprobs = logprobs_of(is_shown, open.logprobs);
        self.event(ChunkChoice { logprobs, ..chunk(choice, delta, None) });
    }

    /// The first chunk names the role: some clients fail without it.
    fn begin(&mut self, choice: u32) {
        let Some(progress) = self.choices.get_mut(place(choice)) else { return };
        if !std::mem::replace(&mut progress.has_begun, true) {
            let role = Some("assistant".into());
            let delta = Delta { role, content: Some(String::new()), ..Delta::default() };
            self.event(chunk(choice, delta, None));
        }
    }

    fn event(&mut self, choice: ChunkChoice) {
        let mut json = self.json(vec![choice], self.no_usage());
        if self.shape.is_padded {
            self.padding.close_event(&mut json);
        }
        sse::encode(&mut self.ready, &json);
    }

    /// `usage: null` on every chunk but the last where the client asked for usage, else no key.
    fn no_usage(&self) -> Option<Option<Usage>> {
        self.shape.has_usage_chunk.then_some(None)
    }

    fn json(&self, choices: Vec<ChunkChoice>, usage: Option<Option<Usage>>) -> Vec<u8> {
        let chunk = ChatCompletionChunk {
            id: self.facts.id.as_str().into(),
            object: ChatCompletionChunk::OBJECT.into(),
            created: self.facts.created,
            model: self.facts.model.as_str().into(),
            choices,
            usage,
            obfuscation: None,
        };
        serde_json::to_vec(&chunk).expect("a chunk has string keys and finite numbers")
    }
}

fn chunk(
    index: u32,
    delta: Delta,
    finish_reason: Option<cocoon_openai_wire::chat::FinishReason>,
) -> ChunkChoice {
    ChunkChoice { index, delta, logprobs: None, finish_reason }
}
