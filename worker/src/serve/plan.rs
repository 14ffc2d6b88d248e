//! From a request's body to a plan: the jobs for the engine and the shape of the answer.
//!
//! [`read`] is all that stands between a body and an engine, for every endpoint; it takes no turn
//! of the runtime, so that a large body can be read where it delays nobody. A parameter that would
//! change the answer and cannot be honoured is refused by name; one that clients send routinely
//! and that changes nothing of substance is taken and ignored, as is any field that nobody knows.

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::peek::{self, Peek};
use cocoon_primitives::{ModelKind, RequestId};
use cocoon_uplink_wire::headers;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::chat::{self, ChatShape};
use super::completions::{self, CompletionsShape};
use super::embeddings::{self, EmbeddingsShape};
use super::head::Head;
use super::limits::Limits;
use super::refusal::{Refusal, Words};
use super::responses::{self, ResponsesShape};
use super::room::PromptRoom;
use super::sealed;
use crate::engine::{
    Constraint, Engine, EngineError, EngineEvent, Input, Job, ModelCard, Reasoning, ToolChoice,
};

/// What one request becomes.
pub(super) struct Plan {
    pub(super) jobs: Jobs,
    pub(super) shape: Shape,
    /// Completion tokens of one choice at most: [`share`]. 0 for embeddings, which have none.
    pub(super) limit: u32,
    /// Types of the tools that were left out, each once.
    pub(super) dropped_tools: Vec<String>,
    /// A stable text of the parameters, for the receipt's commitment: [`params`].
    pub(super) params: Vec<u8>,
}

/// What of a request the rendering of its answer depends on.
pub(super) enum Shape {
    Chat(ChatShape),
    Responses(Box<ResponsesShape>),
    Completions(CompletionsShape),
    Embeddings(EmbeddingsShape),
}

impl Shape {
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Chat(shape) => shape.is_stream,
            Self::Responses(shape) => shape.is_stream,
            Self::Completions(shape) => shape.is_stream,
            Self::Embeddings(_) => false,
        }
    }

    /// How the request names its parameters.
    pub(super) fn words(&self) -> Words {
        match self {
            Self::Chat(shape) if shape.has_functions => Words::Deprecated,
            Self::Chat(_) => Words::Of(Endpoint::ChatCompletions),
            Self::Responses(_) => Words::Of(Endpoint::Responses),
            Self::Completions(_) => Words::Of(Endpoint::Completions),
            Self::Embeddings(_) => Words::Of(Endpoint::Embeddings),
        }
    }

    /// The `id` of the answer.
    pub(super) fn answer_id(&self, request_id: &RequestId) -> String {
        let prefix = match self {
            Self::Chat(_) => "chatcmpl-",
            Self::Responses(_) => "resp_",
            Self::Completions(_) => "cmpl-",
            // The object has none; the receipt does.
            Self::Embeddings(_) => "embd-",
        };
        format!("{prefix}{}", hex::encode(request_id.as_bytes()))
    }
}

/// The jobs of one answer, one for each choice, made when they are due: a prompt may be
/// megabytes long and have 128 choices.
pub(super) struct Jobs {
    /// Its input is empty.
    template: Job,
    prompts: Vec<Input>,
    per_prompt: u32,
}

impl Jobs {
    /// One job, one choice.
    pub(super) fn one(job: Job) -> Self {
        Self::repeated(job, 1)
    }

    /// `choices` answers to one prompt.
    pub(super) fn repeated(mut job: Job, choices: u32) -> Self {
        let input = std::mem::replace(&mut job.input, Input::Text(String::new()));
        Self::each(job, vec![input], choices)
    }

    /// `per_prompt` answers to each prompt, those of one prompt next to each other. The input of
    /// `template` is ignored.
    pub(super) fn each(template: Job, prompts: Vec<Input>, per_prompt: u32) -> Self {
        Self { template, prompts, per_prompt: per_prompt.max(1) }
    }

    pub(super) fn choices(&self) -> u32 {
        self.prompts().saturating_mul(self.per_prompt)
    }

    pub(super) fn prompts(&self) -> u32 {
        u32::try_from(self.prompts.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn per_prompt(&self) -> u32 {
        self.per_prompt
    }

    /// The choices in the order in which they start: first one of each prompt, so that it is soon
    /// known whether the engine takes them all.
    pub(super) fn order(&self) -> impl Iterator<Item = u32> + use<> {
        let (choices, per_prompt) = (self.choices(), self.per_prompt);
        let is_first = move |choice: &u32| choice.is_multiple_of(per_prompt);
        let others = (0..choices).filter(move |choice| !is_first(choice));
        (0..choices).filter(is_first).chain(others)
    }

    /// Asks the engine whether it takes each of several prompts, before it works on any: an answer
    /// that fails by its last prompt is work for nothing. Says how many tokens they have together,
    /// if the engine counted each; an only prompt is not asked about.
    pub(super) async fn question(
        &mut self,
        engine: &dyn Engine,
    ) -> Result<Option<u64>, EngineError> {
        if self.prompts() < 2 {
            return Ok(None);
        }
        let mut sum = Some(0_u64);
        for prompt in 0..self.prompts() {
            let job = Job { max_tokens: 0, ..self.job(prompt.saturating_mul(self.per_prompt)) };
            let mut generation = engine.generate(job)?;
            let mut counted = None;
            loop {
                match generation.events.recv().await {
                    Some(EngineEvent::Started { prompt_tokens }) => counted = prompt_tokens,
                    Some(EngineEvent::Finished { .. }) => break,
                    Some(EngineEvent::Failed(error)) => return Err(error),
                    Some(_) => {}
                    None => return Err(EngineError::Crashed),
                }
            }
            sum = sum.zip(counted).map(|(sum, counted)| sum.saturating_add(counted));
        }
        Ok(sum)
    }

    /// The job of one choice. An only choice's job is handed out once; others as often as they
    /// have to be tried. Choices of one prompt have consecutive seeds, else they would be alike.
    pub(super) fn job(&mut self, choice: u32) -> Job {
        let mut job = self.template.clone();
        let place = usize::try_from(choice / self.per_prompt).unwrap_or(usize::MAX);
        let is_only = self.choices() == 1;
        if let Some(input) = self.prompts.get_mut(place) {
            job.input = match is_only {
                true => std::mem::replace(input, Input::Text(String::new())),
                false => input.clone(),
            };
        }
        let offset = u64::from(choice % self.per_prompt);
        job.sampling.seed = job.sampling.seed.map(|seed| seed.wrapping_add(offset));
        job
    }
}

/// A request that is being planned: its body, what one scan found in it, and what bounds it.
pub(super) struct Asked<'a> {
    pub(super) body: &'a Bytes,
    pub(super) peek: &'a Peek<'a>,
    pub(super) head: &'a Head,
    pub(super) card: &'a ModelCard,
    pub(super) limits: &'a Limits,
}

/// Reads a body for `endpoint` and plans the answer, or says why there is none. `sealed` is what
/// the clear head of a sealed request said about it.
pub(super) fn read(
    endpoint: Endpoint,
    body: &Bytes,
    head: &Head,
    sealed: Option<&cocoon_seal::Head>,
    cards: Vec<ModelCard>,
    limits: &Limits,
) -> Result<(ModelCard, Plan, PromptRoom), Refusal> {
    let peek = peek::read(endpoint, body)?;
    if let Some(sealed) = sealed {
        sealed::check_body(sealed, &peek)?;
    }
    let mut cards = cards.into_iter();
    let card = cards.find(|card| card.name.as_str() == peek.model);
    let card = card.ok_or_else(Refusal::unknown_model)?;
    let kind = match endpoint {
        Endpoint::Embeddings => ModelKind::Embedding,
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Completions => ModelKind::Chat,
    };
    if card.kind != kind {
        let message = "The model does not serve this endpoint.";
        return Err(InvalidRequest::param("model_not_supported", "model", message).into());
    }
    let counts = [
        (endpoint.content_param(), peek.items, limits.messages_max),
        ("tools", peek.tools, limits.tools_max),
    ];
    for (param, count, count_max) in counts {
        limits.check_count(param, usize::try_from(count).unwrap_or(usize::MAX), count_max)?;
    }
    let asked = Asked { body, peek: &peek, head, card: &card, limits };
    let plan = match endpoint {
        Endpoint::ChatCompletions => chat::plan(&asked)?,
        Endpoint::Responses => responses::plan(&asked)?,
        Endpoint::Completions => completions::plan(&asked)?,
        Endpoint::Embeddings => embeddings::plan(&asked)?,
    };
    if plan.limit == 0 && endpoint != Endpoint::Embeddings {
        return Err(Refusal::bad_head(headers::MAX_TOKENS));
    }
    let max = head.terms.max_prompt_tokens;
    let room = PromptRoom::new(max, sealed.is_some(), &card, &peek, body.len());
    Ok((card, plan, room))
}

/// Completion tokens of one choice: what the client asked for, but not more than the choice's
/// share of what was reserved for all.
pub(super) fn share(head: &Head, asked: Option<u64>, choices: u32) -> u32 {
    let asked = asked.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
    asked.min(head.tokens_max / choices.max(1))
}

/// The parameters as JSON with fixed keys in a fixed order: whoever holds the salt can check
/// the receipt's commitment to them. They are those in effect, after defaults, limits and other
/// names for the same: `tool_choice` is a word, or the function to call; `reasoning` a step, or
/// `default` for the model's own; `constraint` is `none`, `json_object`, or `json_schema:` and the
/// SHA-256, in hexadecimal, of the schema as JSON without spaces and in the client's order.
pub(super) fn params(job: &Job) -> Vec<u8> {
    #[derive(Serialize)]
    struct Params<'a> {
        temperature: f32,
        top_p: f32,
        seed: Option<u64>,
        presence_penalty: f32,
        frequency_penalty: f32,
        max_tokens: u32,
        stop: &'a [String],
        logprobs: Option<u8>,
        logit_bias: &'a [(u32, f32)],
        tool_choice: Value,
        parallel_tool_calls: bool,
        reasoning: &'static str,
        constraint: String,
    }
    let params = Params {
        temperature: job.sampling.temperature,
        top_p: job.sampling.top_p,
        seed: job.sampling.seed,
        presence_penalty: job.sampling.presence_penalty,
        frequency_penalty: job.sampling.frequency_penalty,
        max_tokens: job.max_tokens,
        stop: &job.stop,
        logprobs: job.logprobs,
        logit_bias: &job.sampling.logit_bias,
        tool_choice: match &job.tool_choice {
            ToolChoice::Auto => "auto".into(),
            ToolChoice::None => "none".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Named(name) => json!({ "function": name }),
        },
        parallel_tool_calls: job.parallel_tool_calls,
        reasoning: match job.reasoning {
            Reasoning::Default => "default",
            Reasoning::Off => "off",
            Reasoning::Low => "low",
            Reasoning::Medium => "medium",
            Reasoning::High => "high",
        },
        constraint: match &job.constraint {
            Constraint::None => "none".to_owned(),
            Constraint::JsonObject => "json_object".to_owned(),
            Constraint::JsonSchema(schema) => {
                let digest = Sha256::digest(schema.to_string());
                format!("json_schema:{}", hex::encode(digest))
            }
        },
    };
    serde_json::to_vec(&params).expect("parameters are finite numbers and text")
}
