//! A chat completion as one JSON object.

use cocoon_openai_wire::chat::{AnswerMessage, ChatCompletion, Choice, ToolCall};

use super::{Call, Facts, chat_finish, chat_usage, logprobs_of, place};
use crate::engine::{self, Channel, FinishReason, TokenLogprob};
use crate::serve::chat::ChatShape;

/// An answer that leaves in one piece.
pub(in crate::serve) struct ChatWhole {
    facts: Facts,
    shape: ChatShape,
    choices: Vec<Gathered>,
}

/// One choice as it grows.
#[derive(Default)]
struct Gathered {
    content: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    logprobs: Vec<TokenLogprob>,
    finish: Option<FinishReason>,
}

impl ChatWhole {
    pub(super) fn new(shape: ChatShape, facts: Facts) -> Self {
        let mut choices = Vec::new();
        choices.resize_with(place(shape.choices), Gathered::default);
        Self { facts, shape, choices }
    }

    pub(super) fn delta(
        &mut self,
        choice: u32,
        channel: Channel,
        text: &str,
        logprobs: Vec<TokenLogprob>,
    ) {
        let Some(gathered) = self.choices.get_mut(place(choice)) else { return };
        match channel {
            Channel::Content => gathered.content.push_str(text),
            Channel::Reasoning => gathered.reasoning.push_str(text),
        }
        // They are of the content's tokens.
        if self.shape.has_logprobs && channel == Channel::Content {
            gathered.logprobs.extend(logprobs);
        }
    }

    pub(super) fn call(&mut self, choice: u32, call: Call) {
        if let Some(gathered) = self.choices.get_mut(place(choice)) {
            gathered.calls.push(ToolCall::new(call.id, call.name, call.arguments));
        }
    }

    pub(super) fn has_calls(&self, choice: u32) -> bool {
        self.choices.get(place(choice)).is_some_and(|gathered| !gathered.calls.is_empty())
    }

    pub(super) fn end_choice(&mut self, choice: u32, finish: FinishReason) {
        if let Some(gathered) = self.choices.get_mut(place(choice)) {
            gathered.finish = Some(finish);
        }
    }

    pub(super) fn finish(&mut self, usage: engine::Usage) -> Vec<u8> {
        let gathered = std::mem::take(&mut self.choices);
        let shape = self.shape;
        let choices = (0..).zip(gathered).map(|(index, choice)| choice.into_choice(index, shape));
        let Facts { id, model, created, .. } = self.facts.clone();
        ChatCompletion::new(id, created, model, choices.collect(), chat_usage(usage)).to_json()
    }
}

impl Gathered {
    fn into_choice(mut self, index: u32, shape: ChatShape) -> Choice {
        let only_calls = self.content.is_empty() && !self.calls.is_empty();
        let function_call = match shape.has_functions {
            true => self.calls.drain(..).next().map(|call| call.function),
            false => None,
        };
        Choice {
            index,
            message: AnswerMessage {
                role: "assistant".into(),
                content: (!only_calls).then_some(self.content),
                refusal: None,
                annotations: Vec::new(),
                reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
                tool_calls: self.calls,
                function_call,
            },
            logprobs: logprobs_of(shape.has_logprobs, self.logprobs),
            finish_reason: self.finish.map(|finish| chat_finish(finish, shape.has_functions)),
        }
    }
}
