//! Server-sent events: a first chunk with the role, one per delta, the finish, usage if asked.
//!
//! Deltas that arrive before anybody takes them are merged, so a slow reader gets fewer and
//! longer chunks rather than a queue.

use cocoon_openai_wire::chat::{
    ChatCompletionChunk, ChunkChoice, Delta, FinishReason, ToolCallDelta, Usage,
};
use cocoon_openai_wire::sse;

use super::{Call, logprobs_of};
use crate::engine::{Channel, TokenLogprob};
use crate::serve::job::Shape;
use crate::serve::padding::Padding;
use crate::serve::record::Record;

/// What a padded event has besides its padding.
const PADDING_KEY: &[u8] = b",\"obfuscation\":\"";

/// An answer that leaves piece by piece.
pub(in crate::serve) struct StreamTranscript {
    id: String,
    model: String,
    created: u64,
    shape: Shape,
    padding: Padding,
    has_begun: bool,
    has_calls: bool,
    /// The delta that still grows.
    open: Option<Open>,
    /// Events that are complete.
    ready: Vec<u8>,
}

struct Open {
    channel: Channel,
    text: String,
    logprobs: Vec<TokenLogprob>,
}

impl StreamTranscript {
    pub(super) fn new(shape: &Shape, record: &Record) -> Self {
        let mut transcript = Self {
            id: record.chat_id(),
            model: record.model().to_owned(),
            created: record.created(),
            shape: *shape,
            padding: Padding::new(0),
            has_begun: false,
            has_calls: false,
            open: None,
            ready: Vec::new(),
        };
        let empty = Delta { content: Some(String::new()), ..Delta::default() };
        let empty = transcript.json(vec![choice(empty, None)], transcript.no_usage());
        transcript.padding = Padding::new(empty.len() + PADDING_KEY.len() + 1);
        transcript
    }

    pub(super) fn delta(&mut self, channel: Channel, text: &str, logprobs: Vec<TokenLogprob>) {
        let logprobs = if self.shape.has_logprobs { logprobs } else { Vec::new() };
        if text.is_empty() && logprobs.is_empty() {
            return;
        }
        if let Some(open) = &mut self.open
            && open.channel == channel
        {
            open.text.push_str(text);
            open.logprobs.extend(logprobs);
            return;
        }
        self.close();
        self.open = Some(Open { channel, text: text.to_owned(), logprobs });
    }

    pub(super) fn call(&mut self, call: Call) {
        self.close();
        self.begin();
        self.has_calls = true;
        let call = ToolCallDelta::whole(call.index, call.id, call.name, call.arguments);
        self.event(choice(Delta { tool_calls: vec![call], ..Delta::default() }, None));
    }

    pub(super) fn has_calls(&self) -> bool {
        self.has_calls
    }

    pub(super) fn take_ready(&mut self) -> Option<Vec<u8>> {
        self.close();
        (!self.ready.is_empty()).then(|| std::mem::take(&mut self.ready))
    }

    pub(super) fn finish(&mut self, finish: FinishReason, usage: Usage) -> Vec<u8> {
        self.close();
        self.begin();
        self.event(choice(Delta::default(), Some(finish)));
        if self.shape.has_usage_chunk {
            let json = self.json(Vec::new(), Some(Some(usage)));
            sse::encode(&mut self.ready, &json);
        }
        self.ready.extend_from_slice(sse::DONE);
        std::mem::take(&mut self.ready)
    }

    /// Writes the delta that grew so far.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.begin();
        let delta = match open.channel {
            Channel::Content => Delta { content: Some(open.text), ..Delta::default() },
            Channel::Reasoning => Delta { reasoning_content: Some(open.text), ..Delta::default() },
        };
        let logprobs = logprobs_of(self.shape.has_logprobs, open.logprobs);
        self.event(ChunkChoice { logprobs, ..choice(delta, None) });
    }

    /// The first chunk names the role: some clients fail without it.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let role = Some("assistant".into());
            let delta = Delta { role, content: Some(String::new()), ..Delta::default() };
            self.event(choice(delta, None));
        }
    }

    fn event(&mut self, choice: ChunkChoice) {
        let mut json = self.json(vec![choice], self.no_usage());
        if self.shape.is_padded {
            // `obfuscation` is the chunk's last key, so it goes before the closing brace.
            json.pop();
            json.extend_from_slice(PADDING_KEY);
            self.padding.append(json.len() + 2, &mut json);
            json.extend_from_slice(b"\"}");
        }
        sse::encode(&mut self.ready, &json);
    }

    /// `usage: null` on every chunk but the last where the client asked for usage, else no key.
    fn no_usage(&self) -> Option<Option<Usage>> {
        self.shape.has_usage_chunk.then_some(None)
    }

    fn json(&self, choices: Vec<ChunkChoice>, usage: Option<Option<Usage>>) -> Vec<u8> {
        let chunk = ChatCompletionChunk {
            id: self.id.as_str().into(),
            object: ChatCompletionChunk::OBJECT.into(),
            created: self.created,
            model: self.model.as_str().into(),
            choices,
            usage,
            obfuscation: None,
        };
        serde_json::to_vec(&chunk).expect("a chunk has string keys and finite numbers")
    }
}

fn choice(delta: Delta, finish_reason: Option<FinishReason>) -> ChunkChoice {
    ChunkChoice { index: 0, delta, logprobs: None, finish_reason }
}
