//! Completions of plain text, as server-sent events or as one JSON object: the same object, with
//! what came since the last one or with everything.
//!
//! A prompt without a template has no thoughts apart from its text: whatever the model says is text.

use cocoon_openai_wire::chat::Usage;
use cocoon_openai_wire::completions::{
    Completion, CompletionChoice, CompletionLogprobs, TopTokens,
};
use cocoon_openai_wire::sse;

use super::{Facts, chat_finish, chat_usage, finite, place};
use crate::engine::{self, FinishReason, TokenLogprob};
use crate::serve::completions::CompletionsShape;
use crate::serve::padding::Padding;

/// An answer as it grows.
pub(in crate::serve) struct Completions {
    facts: Facts,
    shape: CompletionsShape,
    padding: Padding,
    choices: Vec<Growing>,
    /// Events that are complete.
    ready: Vec<u8>,
}

/// One choice: what of it has not left yet.
#[derive(Default)]
struct Growing {
    text: String,
    logprobs: CompletionLogprobs,
    /// Characters of the text up to the next token.
    offset: u64,
    finish: Option<FinishReason>,
}

impl Completions {
    pub(super) fn new(shape: CompletionsShape, facts: Facts) -> Self {
        let mut choices = Vec::new();
        choices.resize_with(place(shape.choices), Growing::default);
        let (padding, ready) = (Padding::new(0), Vec::new());
        let mut completions = Self { facts, shape, padding, choices, ready };
        let empty = completions.choice(0);
        let empty = completions.json(empty.into_iter().collect(), completions.no_usage());
        completions.padding = Padding::of_events(empty.len());
        completions
    }

    pub(super) fn is_stream(&self) -> bool {
        self.shape.is_stream
    }

    pub(super) fn delta(&mut self, choice: u32, text: &str, logprobs: Vec<TokenLogprob>) {
        let Some(growing) = self.choices.get_mut(place(choice)) else { return };
        growing.text.push_str(text);
        if self.shape.has_logprobs {
            for token in logprobs {
                growing.token(token);
            }
        }
    }

    pub(super) fn end_choice(&mut self, choice: u32, finish: FinishReason) {
        self.close(choice);
        if let Some(growing) = self.choices.get_mut(place(choice)) {
            growing.finish = Some(finish);
        }
        if self.shape.is_stream {
            self.write(choice);
        }
    }

    pub(super) fn take_ready(&mut self) -> Option<Vec<u8>> {
        for choice in 0..self.shape.choices {
            self.close(choice);
        }
        (!self.ready.is_empty()).then(|| std::mem::take(&mut self.ready))
    }

    pub(super) fn finish(&mut self, usage: engine::Usage) -> Vec<u8> {
        let usage = Some(Some(chat_usage(usage)));
        if !self.shape.is_stream {
            let choices = (0..self.shape.choices).filter_map(|choice| self.choice(choice));
            let choices = choices.collect();
            return self.json(choices, usage);
        }
        if self.shape.has_usage_chunk {
            let json = self.json(Vec::new(), usage);
            sse::encode(&mut self.ready, &json);
        }
        self.ready.extend_from_slice(sse::DONE);
        std::mem::take(&mut self.ready)
    }

    /// Writes what a choice of a stream has grown by, if it has.
    fn close(&mut self, choice: u32) {
        let grew =
            |growing: &Growing| !growing.text.is_empty() || !growing.logprobs.tokens.is_empty();
        if self.shape.is_stream && self.choices.get(place(choice)).is_some_and(grew) {
            self.write(choice);
        }
    }

    fn write(&mut self, choice: u32) {
        let Some(choice) = self.choice(choice) else { return };
        let mut json = self.json(vec![choice], self.no_usage());
        if self.shape.is_padded {
            self.padding.close_event(&mut json);
        }
        sse::encode(&mut self.ready, &json);
    }

    /// What a choice has that has not left yet.
    fn choice(&mut self, index: u32) -> Option<CompletionChoice> {
        let has_logprobs = self.shape.has_logprobs;
        let growing = self.choices.get_mut(place(index))?;
        let logprobs = std::mem::take(&mut growing.logprobs);
        Some(CompletionChoice {
            text: std::mem::take(&mut growing.text),
            index,
            logprobs: has_logprobs.then_some(logprobs),
            finish_reason: growing.finish.map(|finish| chat_finish(finish, false)),
        })
    }

    /// `usage: null` on every chunk but the last where the client asked for usage, else no key.
    fn no_usage(&self) -> Option<Option<Usage>> {
        self.shape.has_usage_chunk.then_some(None)
    }

    fn json(&self, choices: Vec<CompletionChoice>, usage: Option<Option<Usage>>) -> Vec<u8> {
        let completion = Completion {
            id: self.facts.id.as_str().into(),
            object: Completion::OBJECT.into(),
            created: self.facts.created,
            model: self.facts.model.as_str().into(),
            choices,
            usage,
        };
        completion.to_json()
    }
}

impl Growing {
    fn token(&mut self, token: TokenLogprob) {
        let logprob = finite(token.logprob);
        let mut top = TopTokens::default();
        for one in token.top {
            top.add(one.token, finite(one.logprob));
        }
        top.add(token.token.clone(), logprob);
        self.logprobs.text_offset.push(self.offset);
        let characters = token.token.chars().count();
        self.offset += u64::try_from(characters).unwrap_or(u64::MAX);
        self.logprobs.top_logprobs.push(top);
        self.logprobs.token_logprobs.push(logprob);
        self.logprobs.tokens.push(token.token);
    }
}
