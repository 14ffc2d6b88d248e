//! Completions of plain text: from the request to its plan.

use cocoon_openai_wire::completions::CompletionsRequest;
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::inputs;

use super::plan::{Asked, Jobs, Plan, Shape, params, share};
use super::unserved;
use crate::engine::{Constraint, Input, Job, Reasoning, Sampling, ToolChoice};

/// What of a completion request the rendering of its answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompletionsShape {
    pub(super) is_stream: bool,
    pub(super) has_usage_chunk: bool,
    pub(super) is_padded: bool,
    pub(super) has_logprobs: bool,
    /// Those of all prompts.
    pub(super) choices: u32,
}

pub(super) fn plan(asked: &Asked<'_>) -> Result<Plan, InvalidRequest> {
    let request = CompletionsRequest::parse_peeked(asked.peek, asked.body)?;
    honour(&request)?;
    asked.limits.check_stops(&request.stop)?;
    asked.limits.check_bias(&request.logit_bias)?;
    let limit = share(asked.head, asked.peek.max_tokens, asked.peek.choices);
    let shape = CompletionsShape {
        is_stream: request.stream,
        has_usage_chunk: request.stream_options.include_usage,
        is_padded: request.stream_options.include_obfuscation,
        has_logprobs: request.logprobs.is_some(),
        choices: asked.peek.choices,
    };
    let template = Job {
        request_id: asked.head.request_id,
        model: asked.card.name.clone(),
        input: Input::Text(String::new()),
        tool_choice: ToolChoice::None,
        parallel_tool_calls: false,
        reasoning: Reasoning::Default,
        sampling: Sampling {
            temperature: request.temperature.unwrap_or(1.0),
            top_p: request.top_p.unwrap_or(1.0),
            seed: request.seed.map(i64::cast_unsigned),
            presence_penalty: request.presence_penalty.unwrap_or(0.0),
            frequency_penalty: request.frequency_penalty.unwrap_or(0.0),
            logit_bias: request.logit_bias,
        },
        stop: request.stop,
        constraint: Constraint::None,
        logprobs: request.logprobs,
        max_tokens: limit,
    };
    let params = params(&template);
    let prompt = |prompt| match prompt {
        inputs::Input::Text(text) => Input::Text(text),
        inputs::Input::Tokens(tokens) => Input::Tokens(tokens),
    };
    let prompts = request.prompts.into_iter().map(prompt).collect();
    let jobs = Jobs::each(template, prompts, request.n);
    let shape = Shape::Completions(shape);
    Ok(Plan { jobs, shape, limit, dropped_tools: Vec::new(), params })
}

/// Refuses what would change the answer and cannot be kept.
fn honour(request: &CompletionsRequest) -> Result<(), InvalidRequest> {
    let unsupported = |param: &str, why: &str| Err(InvalidRequest::unsupported(param, why));
    if request.echo {
        return unsupported("echo", "The prompt cannot be repeated: 'echo' must be false.");
    }
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return unsupported("suffix", "Text cannot be inserted before a 'suffix'.");
    }
    if request.best_of.is_some_and(|best_of| best_of != i64::from(request.n)) {
        return unsupported("best_of", "Every choice is returned: 'best_of' must equal 'n'.");
    }
    if let Some(index) = request.prompts.iter().position(is_nothing) {
        let param = match request.prompts.len() {
            1 => "prompt".to_owned(),
            _ => format!("prompt[{index}]"),
        };
        let message = format!("Invalid '{param}': there are no tokens.");
        return Err(InvalidRequest::param("invalid_value", param, message));
    }
    unserved::check(&request.extra, unserved::COMPLETIONS)
}

/// An empty text may still begin with a token of the model's own; an empty list may not.
fn is_nothing(prompt: &inputs::Input) -> bool {
    matches!(prompt, inputs::Input::Tokens(tokens) if tokens.is_empty())
}
