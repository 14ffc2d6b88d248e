//! The server's stream as events, whatever its dialect.
//!
//! vLLM says `reasoning` or `reasoning_content`; mistral.rs sends the usage in the last chunk of
//! text, errors as bare text, and stop texts along with what comes before them; llama.cpp adds
//! timings; Ollama numbers no calls. Calls arrive in pieces and leave whole.

use std::collections::HashMap;

use cocoon_engine_wire::{Attached, StopCut};
use reqwest::Response;
use serde::Deserialize;

use super::super::{
    Channel, EngineError, EngineEvent, FinishReason, Job, TokenLogprob, ToolChoice, TopLogprob,
    Usage,
};

/// Tool calls of one answer, and the bytes of all their texts.
const CALLS_MAX: usize = 128;
const CALL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Texts beyond the limit before the server is cut off: some split a token into several.
const TEXTS_MARGIN: u64 = 256;

pub(super) struct Answer {
    wants_logprobs: bool,
    max_tokens: u32,
    /// At most one call leaves.
    one_call: bool,
    cut: StopCut,
    has_stops: bool,
    /// Of tokens whose text is held back.
    logprobs: Attached<TokenLogprob>,
    started: bool,
    /// Pieces of text so far: the count of tokens until the server gives its own.
    texts: u64,
    completion: u32,
    usage: Option<WireUsage>,
    finish: Option<FinishReason>,
    calls: Vec<Call>,
    call_bytes: usize,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Answer {
    pub(super) fn new(job: &Job) -> Self {
        Self {
            wants_logprobs: job.logprobs.is_some(),
            max_tokens: job.max_tokens,
            one_call: !job.parallel_tool_calls || matches!(job.tool_choice, ToolChoice::Named(_)),
            cut: StopCut::new(job.stop.clone()),
            has_stops: !job.stop.is_empty(),
            logprobs: Attached::default(),
            started: false,
            texts: 0,
            completion: 0,
            usage: None,
            finish: None,
            calls: Vec::new(),
            call_bytes: 0,
        }
    }

    /// The server writes far more than it was allowed to.
    pub(super) fn is_over_limit(&self) -> bool {
        self.texts > u64::from(self.max_tokens) * 2 + TEXTS_MARGIN
    }

    pub(super) fn chunk(&mut self, data: &str) -> Result<Vec<EngineEvent>, EngineError> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| EngineError::Crashed)?;
        if chunk.error.is_some() {
            return Err(EngineError::Crashed);
        }
        let mut events = self.start(chunk.usage.as_ref());
        if let Some(usage) = chunk.usage {
            self.completion = self.completion.max(self.bounded(usage.completion_tokens));
            self.usage = Some(usage);
        }
        let Some(choice) = chunk.choices.into_iter().find(|choice| choice.index == 0) else {
            return Ok(events);
        };
        let delta = choice.delta;
        let thought = delta.reasoning_content.or(delta.reasoning);
        if let Some(text) = thought.filter(|text| !text.is_empty()) {
            self.count();
            events.push(self.delta(Channel::Reasoning, text, Vec::new()));
        }
        if let (true, Some(logprobs)) = (self.wants_logprobs, choice.logprobs) {
            for token in logprobs.tokens() {
                let bytes = token.bytes.len();
                self.logprobs.push(token, bytes);
            }
        }
        let content = delta.content.or(choice.text);
        if let Some(text) = content.filter(|text| !text.is_empty()) {
            self.count();
            events.extend(self.content(&text));
        }
        for piece in delta.tool_calls.unwrap_or_default() {
            self.call(piece)?;
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(match reason.as_str() {
                "length" => FinishReason::Length,
                "tool_calls" | "function_call" => FinishReason::ToolCalls,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Stop,
            });
        }
        Ok(events)
    }

    /// The last events, if the server came to an end of its own.
    pub(super) fn end(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        let finish = self.finish.ok_or(EngineError::Crashed)?;
        Ok(self.finish(finish))
    }

    pub(super) fn end_at_limit(&mut self) -> Vec<EngineEvent> {
        self.finish(FinishReason::Length)
    }

    fn finish(&mut self, finish: FinishReason) -> Vec<EngineEvent> {
        let mut events = self.start(None);
        let held = self.cut.finish();
        if !self.cut.stopped() {
            let logprobs = match self.has_stops {
                // Tokens without a text are a stop text's, which the server has cut itself.
                true => self.logprobs.release(self.logprobs.end()),
                false => self.logprobs.finish(),
            };
            if !held.is_empty() || !logprobs.is_empty() {
                events.push(self.delta(Channel::Content, held, logprobs));
            }
        }
        let completion_tokens = self.completion;
        // A number that the server has left out is a call that it has not made.
        let calls =
            std::mem::take(&mut self.calls).into_iter().filter(|call| !call.name.is_empty());
        let calls = calls.take(if self.one_call { 1 } else { CALLS_MAX });
        let before = events.len();
        for (index, call) in (0_u32..).zip(calls) {
            let id = if call.id.is_empty() { format!("call_{index}") } else { call.id };
            events.push(EngineEvent::ToolCall {
                index,
                id,
                name: call.name,
                arguments: call.arguments,
                completion_tokens,
            });
        }
        let finish = match finish {
            // Some say `stop` after a call that was demanded.
            FinishReason::Stop if events.len() > before => FinishReason::ToolCalls,
            other => other,
        };
        let usage = self.usage.take().unwrap_or_default();
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let reasoning =
            usage.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        let completion = u64::from(completion_tokens);
        let usage = Usage {
            prompt: usage.prompt_tokens,
            cached: cached.unwrap_or(0).min(usage.prompt_tokens),
            completion,
            reasoning: reasoning.unwrap_or(0).min(completion),
        };
        events.push(EngineEvent::Finished { finish, usage });
        events
    }

    fn start(&mut self, usage: Option<&WireUsage>) -> Vec<EngineEvent> {
        if std::mem::replace(&mut self.started, true) {
            return Vec::new();
        }
        // Servers that count as they go say the prompt's length at once.
        let prompt_tokens = usage.map(|usage| usage.prompt_tokens).filter(|count| *count > 0);
        vec![EngineEvent::Started { prompt_tokens }]
    }

    /// What of a text may leave: stop texts never do, whatever the server does about them.
    fn content(&mut self, text: &str) -> Option<EngineEvent> {
        self.logprobs.text(text.len());
        let text = self.cut.push(text);
        if text.is_empty() {
            return None;
        }
        let logprobs = self.logprobs.release(self.logprobs.end() - self.cut.behind());
        Some(self.delta(Channel::Content, text, logprobs))
    }

    fn delta(&self, channel: Channel, text: String, logprobs: Vec<TokenLogprob>) -> EngineEvent {
        EngineEvent::Delta { channel, text, completion_tokens: self.completion, logprobs }
    }

    /// One more token, unless the server counts by itself.
    fn count(&mut self) {
        self.texts += 1;
        if self.usage.is_none() {
            self.completion = self.bounded(u64::from(self.completion) + 1);
        }
    }

    fn call(&mut self, piece: WireCall) -> Result<(), EngineError> {
        self.count();
        let last = self.calls.len().saturating_sub(1);
        let place = piece.index.unwrap_or_else(|| {
            // Without a number, another name is another call.
            let is_begun = self.calls.get(last).is_some_and(|call| !call.name.is_empty());
            let is_named = piece
                .function
                .as_ref()
                .is_some_and(|f| f.name.as_ref().is_some_and(|n| !n.is_empty()));
            if is_begun && is_named { last + 1 } else { last }
        });
        if place >= CALLS_MAX {
            return Err(EngineError::Crashed);
        }
        if self.calls.len() <= place {
            self.calls.resize_with(place + 1, Call::default);
        }
        let function = piece.function.unwrap_or_default();
        let (name, arguments) =
            (function.name.unwrap_or_default(), function.arguments.unwrap_or_default());
        self.call_bytes += name.len() + arguments.len();
        if self.call_bytes > CALL_BYTES_MAX {
            return Err(EngineError::Crashed);
        }
        let call = &mut self.calls[place];
        if let Some(id) = piece.id.filter(|id| !id.is_empty() && id.len() <= 256) {
            call.id = id;
        }
        call.name.push_str(&name);
        call.arguments.push_str(&arguments);
        Ok(())
    }

    fn bounded(&self, count: u64) -> u32 {
        u32::try_from(count).unwrap_or(u32::MAX).min(self.max_tokens)
    }
}

/// What a status of the client's own fault means in detail.
pub(super) async fn refused(mut response: Response) -> EngineError {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    let is_context = [&refusal.error.kind, &refusal.error.code].into_iter().any(|field| {
        field.as_str().is_some_and(|text| {
            matches!(text, "exceed_context_size_error" | "context_length_exceeded")
        })
    });
    if is_context {
        return EngineError::ContextLengthExceeded {
            prompt: refusal.error.n_prompt_tokens,
            limit: refusal.error.n_ctx,
        };
    }
    EngineError::InvalidRequest {
        message: "the engine does not accept this request".to_owned(),
        param: refusal.error.param.filter(|param| param.len() <= 128),
        code: "invalid_request",
    }
}

// === What servers write; unknown fields are skipped ===

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Delta,
    /// In place of `delta` where a plain prompt goes on.
    text: Option<String>,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Deserialize)]
struct WireCall {
    index: Option<usize>,
    id: Option<String>,
    function: Option<WireFunction>,
}

#[derive(Default, Deserialize)]
struct WireFunction {
    name: Option<String>,
    arguments: Option<String>,
}

/// A conversation's are in `content`; a plain prompt's are columns.
#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<WireLogprob>>,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    token_logprobs: Vec<Option<f32>>,
    #[serde(default)]
    top_logprobs: Vec<Option<HashMap<String, f32>>>,
}

impl Logprobs {
    fn tokens(self) -> Vec<TokenLogprob> {
        if let Some(content) = self.content {
            return content.into_iter().map(TokenLogprob::from).collect();
        }
        let mut tops = self.top_logprobs.into_iter();
        let column = self.tokens.into_iter().zip(self.token_logprobs);
        let entry = |(token, logprob): (String, Option<f32>)| {
            let top = tops.next().flatten().unwrap_or_default();
            let mut top: Vec<TopLogprob> = top
                .into_iter()
                .map(|(token, logprob)| TopLogprob {
                    bytes: token.clone().into_bytes(),
                    token,
                    logprob,
                })
                .collect();
            top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob).then(a.token.cmp(&b.token)));
            let bytes = token.clone().into_bytes();
            TokenLogprob { token, bytes, logprob: logprob.unwrap_or_default(), top }
        };
        column.map(entry).collect()
    }
}

#[derive(Deserialize)]
struct WireLogprob {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<WireLogprob>,
}

impl From<WireLogprob> for TokenLogprob {
    fn from(wire: WireLogprob) -> Self {
        let top = wire.top_logprobs.into_iter().map(|top| TopLogprob {
            bytes: top.bytes.unwrap_or_else(|| top.token.clone().into_bytes()),
            token: top.token,
            logprob: top.logprob,
        });
        Self {
            top: top.collect(),
            bytes: wire.bytes.unwrap_or_else(|| wire.token.clone().into_bytes()),
            token: wire.token,
            logprob: wire.logprob,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    pub(super) prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: RefusalError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RefusalError {
    #[serde(rename = "type")]
    kind: serde_json::Value,
    code: serde_json::Value,
    param: Option<String>,
    n_prompt_tokens: u64,
    n_ctx: u64,
}
