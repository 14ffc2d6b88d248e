//! The body for the server, made from the job: nothing that a client wrote reaches the server but
//! what the worker's surface has understood.
//!
//! Servers know many more parameters, and a client must not reach them: `best_of` and `min_tokens`
//! make work that nobody pays for, `priority` overtakes others, `chat_template` runs the client's
//! own program, `ignore_eos` turns every answer into the longest one. Nothing that says who asked
//! passes either.

use bytes::Bytes;
use cocoon_primitives::ModelKind;
use serde_json::{Map, Value, json};

use super::super::{
    Constraint, EmbedInput, EngineError, Input, Job, Reasoning, ToolChoice, invalid,
};

/// Texts that are embedded with one request: bounds the answer, which is read whole.
pub(super) const EMBED_BATCH: usize = 64;

/// What to ask, and where below the server's base URL.
#[derive(Debug)]
pub(super) enum Request {
    /// A stream of chunks.
    Stream { path: &'static str, body: Bytes },
    /// Vectors, some texts at a time.
    Embed { texts: usize, bodies: Vec<Bytes> },
}

/// What a server is like.
pub(super) struct Dialect<'d> {
    pub(super) model: &'d str,
    pub(super) kind: ModelKind,
    /// It takes fields that OpenAI does not have.
    pub(super) is_open: bool,
}

impl Request {
    pub(super) fn new(job: &Job, dialect: &Dialect<'_>) -> Result<Self, EngineError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), dialect.model.into());
        let path = match (&job.input, dialect.kind) {
            (Input::Embed(inputs), ModelKind::Embedding) => return embed(&body, inputs),
            (Input::Embed(_), ModelKind::Chat) => {
                return Err(invalid("model", "makes no embeddings"));
            }
            (_, ModelKind::Embedding) => return Err(invalid("model", "makes only embeddings")),
            (Input::Chat { messages, tools }, ModelKind::Chat) => {
                body.insert("messages".to_owned(), messages.clone().into());
                call(&mut body, job, tools)?;
                reason(&mut body, job.reasoning, dialect.is_open);
                if let Some(top) = job.logprobs {
                    body.insert("logprobs".to_owned(), true.into());
                    body.insert("top_logprobs".to_owned(), top.into());
                }
                "chat/completions"
            }
            (Input::Text(text), ModelKind::Chat) => {
                body.insert("prompt".to_owned(), text.clone().into());
                "completions"
            }
            (Input::Tokens(ids), ModelKind::Chat) => {
                body.insert("prompt".to_owned(), ids.clone().into());
                "completions"
            }
        };
        if let (Some(top), false) = (job.logprobs, matches!(job.input, Input::Chat { .. })) {
            body.insert("logprobs".to_owned(), top.into());
        }
        sample(&mut body, job);
        // The older name of the limit is the one that every server knows.
        body.insert("max_tokens".to_owned(), job.max_tokens.into());
        body.insert("stream".to_owned(), true.into());
        let mut options = json!({ "include_usage": true });
        if dialect.is_open {
            options["continuous_usage_stats"] = true.into();
        }
        body.insert("stream_options".to_owned(), options);
        Ok(Self::Stream { path, body: text(&body) })
    }
}

fn call(body: &mut Map<String, Value>, job: &Job, tools: &[Value]) -> Result<(), EngineError> {
    let is_tool = |name: &str| {
        tools.iter().any(|tool| tool.pointer("/function/name").is_some_and(|known| known == name))
    };
    let choice = match &job.tool_choice {
        ToolChoice::Required if tools.is_empty() => {
            return Err(invalid("tool_choice", "demands a call and there are no tools"));
        }
        ToolChoice::Named(name) if !is_tool(name) => {
            return Err(invalid("tool_choice", "names a function that is not among the tools"));
        }
        _ if tools.is_empty() => return Ok(()),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    };
    body.insert("tools".to_owned(), tools.into());
    body.insert("tool_choice".to_owned(), choice);
    if !job.parallel_tool_calls {
        body.insert("parallel_tool_calls".to_owned(), false.into());
    }
    Ok(())
}

fn reason(body: &mut Map<String, Value>, reasoning: Reasoning, is_open: bool) {
    let effort = match reasoning {
        Reasoning::Default => return,
        Reasoning::Off if is_open => {
            // vLLM, SGLang and llama.cpp switch the template; some of them refuse "none".
            let switch = json!({ "enable_thinking": false });
            body.insert("chat_template_kwargs".to_owned(), switch);
            return;
        }
        Reasoning::Off => "none",
        Reasoning::Low => "low",
        Reasoning::Medium => "medium",
        Reasoning::High => "high",
    };
    body.insert("reasoning_effort".to_owned(), effort.into());
}

fn sample(body: &mut Map<String, Value>, job: &Job) {
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    let sampling = &job.sampling;
    set("temperature", decimal(sampling.temperature));
    set("top_p", decimal(sampling.top_p));
    set("presence_penalty", decimal(sampling.presence_penalty));
    set("frequency_penalty", decimal(sampling.frequency_penalty));
    if let Some(seed) = sampling.seed {
        // A client's negative number has come as its two's complement.
        set("seed", seed.cast_signed().into());
    }
    if !sampling.logit_bias.is_empty() {
        let bias = sampling.logit_bias.iter().map(|(id, bias)| (id.to_string(), decimal(*bias)));
        set("logit_bias", Value::Object(bias.collect()));
    }
    if !job.stop.is_empty() {
        set("stop", job.stop.clone().into());
    }
    match &job.constraint {
        Constraint::None => {}
        Constraint::JsonObject => set("response_format", json!({ "type": "json_object" })),
        Constraint::JsonSchema(schema) => {
            let named = json!({ "name": "answer", "strict": true, "schema": schema });
            set("response_format", json!({ "type": "json_schema", "json_schema": named }));
        }
    }
}

fn embed(body: &Map<String, Value>, inputs: &[EmbedInput]) -> Result<Request, EngineError> {
    let texts = inputs.iter().filter(|input| matches!(input, EmbedInput::Text(_))).count();
    if texts != 0 && texts != inputs.len() {
        return Err(invalid("input", "mixes texts and tokens"));
    }
    let value = |input: &EmbedInput| match input {
        EmbedInput::Text(text) => Value::from(text.clone()),
        EmbedInput::Tokens(ids) => ids.clone().into(),
    };
    let bodies = inputs.chunks(EMBED_BATCH).map(|inputs| {
        let mut body = body.clone();
        body.insert("input".to_owned(), inputs.iter().map(value).collect());
        // What every server knows; either form is read.
        body.insert("encoding_format".to_owned(), "float".into());
        text(&body)
    });
    Ok(Request::Embed { texts: inputs.len(), bodies: bodies.collect() })
}

/// As short as the number was written: 0.1, not what 32 bits make of it.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(number)).into()
}

fn text(body: &Map<String, Value>) -> Bytes {
    serde_json::to_vec(body).expect("a JSON value has a text form").into()
}
