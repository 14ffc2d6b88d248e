//! One JSON object.

use cocoon_openai_wire::chat::{
    AnswerMessage, ChatCompletion, Choice, FinishReason, ToolCall, Usage,
};

use super::{Call, logprobs_of};
use crate::engine::{Channel, TokenLogprob};
use crate::serve::job::Shape;
use crate::serve::record::Record;

/// An answer that leaves in one piece.
pub(in crate::serve) struct WholeTranscript {
    id: String,
    model: String,
    created: u64,
    has_logprobs: bool,
    content: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    logprobs: Vec<TokenLogprob>,
}

impl WholeTranscript {
    pub(super) fn new(shape: &Shape, record: &Record) -> Self {
        Self {
            id: record.chat_id(),
            model: record.model().to_owned(),
            created: record.created(),
            has_logprobs: shape.has_logprobs,
            content: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            logprobs: Vec::new(),
        }
    }

    pub(super) fn delta(&mut self, channel: Channel, text: &str, logprobs: Vec<TokenLogprob>) {
        match channel {
            Channel::Content => self.content.push_str(text),
            Channel::Reasoning => self.reasoning.push_str(text),
        }
        if self.has_logprobs {
            self.logprobs.extend(logprobs);
        }
    }

    pub(super) fn call(&mut self, call: Call) {
        self.calls.push(ToolCall::new(call.id, call.name, call.arguments));
    }

    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(super) fn finish(&mut self, finish: FinishReason, usage: Usage) -> Vec<u8> {
        let content = std::mem::take(&mut self.content);
        let reasoning = std::mem::take(&mut self.reasoning);
        let tool_calls = std::mem::take(&mut self.calls);
        let only_calls = content.is_empty() && !tool_calls.is_empty();
        let choice = Choice {
            index: 0,
            message: AnswerMessage {
                role: "assistant".into(),
                content: (!only_calls).then_some(content),
                refusal: None,
                reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
                tool_calls,
            },
            logprobs: logprobs_of(self.has_logprobs, std::mem::take(&mut self.logprobs)),
            finish_reason: Some(finish),
        };
        let (id, model) = (std::mem::take(&mut self.id), std::mem::take(&mut self.model));
        ChatCompletion::new(id, self.created, model, choice, usage).to_json()
    }
}
