//! The server's stream as events, whatever its dialect.
//!
//! vLLM says `reasoning` or `reasoning_content`; mistral.rs sends the usage in the last chunk of
//! text and errors as bare text; llama.cpp adds timings. Calls arrive in pieces and leave whole.

use reqwest::Response;
use serde::Deserialize;

use super::super::{
    Channel, EngineError, EngineEvent, FinishReason, Job, TokenLogprob, TopLogprob, Usage,
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
        let logprobs = choice.logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
        if let Some(text) = thought.filter(|text| !text.is_empty()) {
            events.push(self.text(Channel::Reasoning, text, Vec::new()));
        }
        if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
            let logprobs = if self.wants_logprobs { logprobs } else { Vec::new() };
            let logprobs = logprobs.into_iter().map(TokenLogprob::from).collect();
            events.push(self.text(Channel::Content, text, logprobs));
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
        let completion_tokens = self.completion;
        for (index, call) in (0_u32..).zip(std::mem::take(&mut self.calls)) {
            let id = if call.id.is_empty() { format!("call_{index}") } else { call.id };
            events.push(EngineEvent::ToolCall {
                index,
                id,
                name: call.name,
                arguments: call.arguments,
                completion_tokens,
            });
        }
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

    fn text(&mut self, channel: Channel, text: String, logprobs: Vec<TokenLogprob>) -> EngineEvent {
        self.count();
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
        let place = piece.index.unwrap_or(0);
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

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<WireLogprob>>,
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
struct WireUsage {
    prompt_tokens: u64,
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
