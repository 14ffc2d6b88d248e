//! The messages themselves.

use serde::{Deserialize, Serialize};

use crate::job::{
    Channel, Constraint, EmbedInput, FinishReason, Reasoning, Sampling, TokenLogprob, ToolChoice,
    Usage,
};

/// Worker → child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    Generate(Box<Generate>),
    /// Stop this job within one token. Unknown and finished ids are ignored.
    Cancel {
        id: u64,
    },
    Ping {
        n: u64,
    },
}

/// What an answer starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    Chat {
        /// A JSON array of messages in OpenAI's shape, content flattened to a string or null.
        messages: String,
        /// A JSON array of tool definitions in OpenAI's shape.
        tools: String,
        reasoning: Reasoning,
    },
    /// Text to go on from, without a template.
    Text(String),
    /// The same as token ids of the model's own vocabulary.
    Tokens(Vec<u32>),
    /// Texts to embed. Only an embedding model takes them, and it takes nothing else.
    Embed(Vec<EmbedInput>),
}

/// One answer to generate. `id` is new for each job of one child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    pub id: u64,
    pub prompt: Prompt,
    pub tool_choice: ToolChoice,
    /// Whether one answer may hold more than one call.
    pub parallel_tool_calls: bool,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    /// JSON text of a [`Constraint`]; see [`Generate::constrained`].
    pub constraint: String,
    /// How many likeliest tokens to report for each token; `None` reports nothing.
    pub logprobs: Option<u8>,
    /// Completion tokens. The child lowers it to what the context leaves. 0 asks only whether the
    /// prompt is one that it takes: `Started`, then `Finished`.
    pub max_tokens: u32,
}

impl Generate {
    /// A job with an empty conversation; the caller fills in the rest.
    pub fn new(id: u64, max_tokens: u32, sampling: Sampling) -> Self {
        Self {
            id,
            prompt: Prompt::Chat {
                messages: "[]".to_owned(),
                tools: "[]".to_owned(),
                reasoning: Reasoning::Default,
            },
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            sampling,
            stop: Vec::new(),
            constraint: "\"None\"".to_owned(),
            logprobs: None,
            max_tokens,
        }
    }

    #[must_use]
    pub fn constrained(mut self, constraint: &Constraint) -> Self {
        self.constraint = serde_json::to_string(constraint).expect("a JSON value has a text form");
        self
    }

    pub fn constraint(&self) -> Result<Constraint, serde_json::Error> {
        serde_json::from_str(&self.constraint)
    }
}

/// Child → worker. For each job: `Started`, then deltas and tool calls, then exactly one of
/// `Finished`, `Cancelled`, `Failed`; `Cancelled` or `Failed` may come without `Started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// The first message: the model is loaded.
    Ready(Ready),
    Started {
        id: u64,
        prompt_tokens: u64,
    },
    Delta {
        id: u64,
        channel: Channel,
        text: String,
        /// Cumulative over the job.
        completion_tokens: u32,
        logprobs: Vec<TokenLogprob>,
    },
    ToolCall {
        id: u64,
        index: u32,
        call_id: String,
        name: String,
        arguments: String,
        completion_tokens: u32,
    },
    /// The vector of the input at `index`, of unit length.
    Embedding {
        id: u64,
        index: u32,
        vector: Vec<f32>,
    },
    Finished {
        id: u64,
        finish: FinishReason,
        usage: Usage,
    },
    Cancelled {
        id: u64,
    },
    Failed {
        id: u64,
        failure: Failure,
    },
    Pong {
        n: u64,
        resident_bytes: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub protocol: u32,
    pub context_length: u32,
    pub vocab: u32,
    /// Jobs that it works on at once: what comes beyond waits silently.
    pub jobs: u16,
    /// Numbers in a vector; 0 where the model generates text.
    pub embedding_dimensions: u32,
}

/// Why a job ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The client's own fault. The message is ours, never the engine's.
    Invalid {
        message: String,
        param: Option<String>,
    },
    /// The same, over something that we do not have.
    Unsupported {
        message: String,
        param: Option<String>,
    },
    ContextLength {
        prompt: u64,
        limit: u64,
    },
    /// One of several texts to embed is too long.
    InputLength {
        index: u32,
        tokens: u64,
        limit: u64,
    },
    /// The engine failed; details are in the child's log. The worker restarts the child.
    Engine,
}
