//! Embeddings: from the request to its plan.

use cocoon_openai_wire::embeddings::{EmbeddingsRequest, Encoding};
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::inputs;
use cocoon_uplink_wire::frame::PAYLOAD_BYTES_MAX;

use super::plan::{Asked, Jobs, Plan, Shape, params};
use crate::engine::{Constraint, EmbedInput, Input, Job, Reasoning, Sampling, ToolChoice};

/// One number as JSON text at most, its comma included.
const NUMBER_BYTES_MAX: usize = 16;
/// What stands around one vector at most.
const AROUND_BYTES_MAX: usize = 64;

/// What of an embeddings request the rendering of its answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EmbeddingsShape {
    pub(super) encoding: Encoding,
    /// What the client asks a vector to have.
    pub(super) dimensions: Option<u32>,
    pub(super) inputs: u32,
    /// Whether vectors of unknown length must be seen before the head can leave.
    pub(super) is_unchecked: bool,
}

impl EmbeddingsShape {
    /// Whether vectors of so many numbers are what the client asked for and fit into one answer:
    /// known from the model's card, else with the first of them, and so before the head leaves.
    pub(super) fn check(&self, dimensions: usize) -> Result<(), InvalidRequest> {
        if self.dimensions.is_some_and(|asked| usize::try_from(asked) != Ok(dimensions)) {
            let why = format!(
                "The model's vectors cannot be shortened: 'dimensions' must be {dimensions}."
            );
            return Err(InvalidRequest::unsupported("dimensions", why));
        }
        let vector = match self.encoding {
            Encoding::Float => dimensions.saturating_mul(NUMBER_BYTES_MAX),
            Encoding::Base64 => dimensions.saturating_mul(size_of::<f32>()).div_ceil(3) * 4,
        };
        let inputs = usize::try_from(self.inputs).unwrap_or(usize::MAX);
        let most = PAYLOAD_BYTES_MAX / (vector + AROUND_BYTES_MAX);
        if inputs > most.saturating_sub(1) {
            let message = format!(
                "Invalid 'input': {inputs} vectors in this encoding do not fit into one answer; \
                 send fewer, or ask for base64."
            );
            return Err(InvalidRequest::param("array_above_max_length", "input", message));
        }
        Ok(())
    }
}

pub(super) fn plan(asked: &Asked<'_>) -> Result<Plan, InvalidRequest> {
    let limits = asked.limits;
    let inputs = usize::try_from(asked.peek.prompts).unwrap_or(usize::MAX);
    limits.check_count("input", inputs, limits.embedding_inputs_max)?;
    let request = EmbeddingsRequest::parse_peeked(asked.peek, asked.body)?;
    let shape = EmbeddingsShape {
        encoding: request.encoding,
        dimensions: request.dimensions,
        inputs: asked.peek.prompts,
        is_unchecked: asked.card.embedding_dimensions.is_none(),
    };
    if let Some(dimensions) = asked.card.embedding_dimensions {
        shape.check(usize::try_from(dimensions).unwrap_or(usize::MAX))?;
    }
    let input = |input| match input {
        inputs::Input::Text(text) => EmbedInput::Text(text),
        inputs::Input::Tokens(tokens) => EmbedInput::Tokens(tokens),
    };
    let job = Job {
        request_id: asked.head.request_id,
        model: asked.card.name.clone(),
        input: Input::Embed(request.inputs.into_iter().map(input).collect()),
        tool_choice: ToolChoice::None,
        parallel_tool_calls: false,
        reasoning: Reasoning::Default,
        // Nothing is sampled.
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        },
        stop: Vec::new(),
        constraint: Constraint::None,
        logprobs: None,
        max_tokens: 0,
    };
    let params = params(&job);
    let (jobs, shape) = (Jobs::one(job), Shape::Embeddings(shape));
    Ok(Plan { jobs, shape, limit: 0, dropped_tools: Vec::new(), params })
}
