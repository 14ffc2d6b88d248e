//! The few fields of a request that routing and metering need, read in one scan of the body.
//!
//! Nothing is copied but escaped strings, and no tree is built. A gateway that peeks and a worker
//! that parses must never disagree about what a body says, so a field that appears twice is
//! refused, and so is a body nested more deeply, or made of more values, than a parser will take.
//!
//! Which fields are read depends on the endpoint; the others are passed over. Embeddings are never
//! streamed and have no tokens to generate, so of them only `model` and `input` are read.

use std::borrow::Cow;

use crate::endpoint::Endpoint;

mod scan;

pub use crate::error::InvalidRequest as PeekError;

use scan::{Elements, Kind, Shape, Slot, Top};

/// JSON values in one body. Text of any length is one value; this bounds what a tree would take.
pub const VALUES_MAX: usize = 500_000;
/// The greatest `n` that the API defines; of completions, the most prompts × `n`.
pub const CHOICES_MAX: u32 = 128;
/// The most inputs of one embeddings request that the API defines.
pub const INPUTS_MAX: u32 = 2048;
/// The completion tokens of one choice where `/v1/completions` is not told: OpenAI's default.
pub const COMPLETIONS_TOKENS_DEFAULT: u64 = 16;

/// What a request asks for, as far as money, limits and routing go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    pub model: Cow<'a, str>,
    /// Never of embeddings.
    pub stream: bool,
    /// `stream_options.include_usage`: the client expects a last chunk with the usage.
    pub include_usage: bool,
    /// Completion tokens of one choice, at least 1: `max_completion_tokens` else `max_tokens`,
    /// `max_output_tokens`, or `max_tokens`, by endpoint. `None` where nobody said.
    pub max_tokens: Option<u64>,
    /// Texts to generate, 1 to [`CHOICES_MAX`]; of completions that is prompts × `n`, and of
    /// embeddings 0.
    pub choices: u32,
    /// Texts to read, each with the model's context for itself: more than 1 only of completions
    /// and embeddings.
    pub prompts: u32,
    /// Messages, or items of an `input` that is a list; 0 of completions and embeddings.
    pub items: u32,
    /// Elements of `tools` and of a chat's `functions`, which are tools by their older name.
    pub tools: u32,
    /// How many of them are elements of `functions`.
    pub functions: u32,
    /// Whether it has a say in how the answer's text is cut into tokens: by `logit_bias` or `stop`,
    /// or because its prompts are token ids. A count of the text says little then.
    pub has_uneven_text: bool,
}

/// Reads the body of a request to `endpoint`.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Peek<'_>, PeekError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let place = error.valid_up_to();
        let message = format!("The request body is not valid UTF-8 (at byte {place}).");
        PeekError::body("invalid_utf8", message)
    })?;
    let mut values_left = VALUES_MAX;
    match scan::scan(text, Top { endpoint, values_left: &mut values_left }) {
        Ok(fields) => fields.check(endpoint),
        Err(_) if values_left == 0 => {
            let message = format!("The request body has more than {VALUES_MAX} JSON values.");
            Err(PeekError::body("too_many_values", message))
        }
        Err(error) => Err(unreadable(&error)),
    }
}

/// Reads the body of a chat completion request.
pub fn chat(body: &[u8]) -> Result<Peek<'_>, PeekError> {
    read(Endpoint::ChatCompletions, body)
}

pub(crate) fn unreadable(error: &serde_json::Error) -> PeekError {
    if error.is_data() {
        return PeekError::body("invalid_type", "The request body must be a JSON object.");
    }
    // A syntax error of serde_json names a place, never the text around it.
    let message = format!("We could not parse the JSON body of your request: {error}.");
    PeekError::body("invalid_json", message)
}

/// The fields as they stand in the body, of whatever type, before any is judged.
#[derive(Default)]
struct Fields<'a> {
    model: Slot<'a>,
    /// `messages`, `input` or `prompt`.
    content: Slot<'a>,
    stream: Slot<'a>,
    stream_options: Slot<'a>,
    include_usage: Slot<'a>,
    limit: Slot<'a>,
    /// The deprecated name of a chat completion's limit.
    older_limit: Slot<'a>,
    n: Slot<'a>,
    tools: Slot<'a>,
    functions: Slot<'a>,
    /// `logit_bias` or `stop` has a value.
    has_token_rules: bool,
}

impl<'a> Fields<'a> {
    /// Where a field of this endpoint goes; `stream_options` is looked into by the scan itself.
    fn slot(&mut self, endpoint: Endpoint, key: &str) -> Option<&mut Slot<'a>> {
        use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
        match (endpoint, key) {
            (_, "model") => Some(&mut self.model),
            (_, key) if key == endpoint.content_param() => Some(&mut self.content),
            (Embeddings, _) => None,
            (_, "stream") => Some(&mut self.stream),
            (_, key) if Some(key) == endpoint.limit_param() => Some(&mut self.limit),
            (ChatCompletions, "max_tokens") => Some(&mut self.older_limit),
            (ChatCompletions | Completions, "n") => Some(&mut self.n),
            (ChatCompletions | Responses, "tools") => Some(&mut self.tools),
            (ChatCompletions, "functions") => Some(&mut self.functions),
            _ => None,
        }
    }

    fn check(self, endpoint: Endpoint) -> Result<Peek<'a>, PeekError> {
        let model = match self.model.once("model")? {
            Shape::Null => return Err(PeekError::missing("model")),
            Shape::Text(text) if text.is_empty() => {
                return Err(PeekError::param("invalid_value", "model", "'model' is empty."));
            }
            Shape::Text(text) => text,
            other => return Err(other.is_not("model", "a string")),
        };
        let content = self.content.once(endpoint.content_param())?;
        let Content { prompts, items, has_token_ids } = match endpoint {
            Endpoint::ChatCompletions => messages(&content)?,
            Endpoint::Responses => input_items(&content)?,
            Endpoint::Completions => texts(&content, endpoint, CHOICES_MAX)?,
            Endpoint::Embeddings => texts(&content, endpoint, INPUTS_MAX)?,
        };
        match self.stream_options.once("stream_options")? {
            Shape::Null | Shape::Object => {}
            other => return Err(other.is_not("stream_options", "an object")),
        }
        let wanted = self.limit.tokens(endpoint.limit_param().unwrap_or_default())?;
        let older = self.older_limit.tokens("max_tokens")?;
        let usual = (endpoint == Endpoint::Completions).then_some(COMPLETIONS_TOKENS_DEFAULT);
        let functions = self.functions.elements("functions")?;
        let tools = self.tools.elements("tools")?.saturating_add(functions);
        let choices = match endpoint {
            Endpoint::Embeddings => 0,
            _ => choices(self.n.choices("n")?, prompts)?,
        };
        Ok(Peek {
            model,
            stream: self.stream.boolean("stream")?,
            include_usage: self.include_usage.boolean("stream_options.include_usage")?,
            max_tokens: wanted.or(older).or(usual),
            choices,
            prompts,
            items,
            tools,
            functions,
            has_uneven_text: self.has_token_rules || has_token_ids,
        })
    }
}

/// How much there is to read.
struct Content {
    prompts: u32,
    items: u32,
    /// In place of text.
    has_token_ids: bool,
}

impl Content {
    const fn items(items: u32) -> Self {
        Self { prompts: 1, items, has_token_ids: false }
    }
}

fn messages(content: &Shape<'_>) -> Result<Content, PeekError> {
    match content {
        Shape::Null => Err(PeekError::missing("messages")),
        Shape::Array(Elements { count: 0, .. }) => {
            let message = "Invalid 'messages': empty array. Expected at least one message.";
            Err(PeekError::param("empty_array", "messages", message))
        }
        Shape::Array(elements) => Ok(Content::items(elements.count)),
        other => Err(other.is_not("messages", "an array of objects")),
    }
}

/// Whether a response needs an input, and which items there are, is its parser's affair.
fn input_items(content: &Shape<'_>) -> Result<Content, PeekError> {
    match content {
        Shape::Null | Shape::Text(_) => Ok(Content::items(0)),
        Shape::Array(elements) => Ok(Content::items(elements.count)),
        other => Err(other.is_not("input", "a string or an array of items")),
    }
}

/// A text or a list of token ids is one prompt, a list of either so many.
fn texts(content: &Shape<'_>, endpoint: Endpoint, prompts_max: u32) -> Result<Content, PeekError> {
    let param = endpoint.content_param();
    let expected = "a string, an array of strings, an array of token ids or an array of those";
    let (prompts, has_token_ids) = match content {
        Shape::Null => return Err(PeekError::missing(param)),
        Shape::Text(_) => (1, false),
        Shape::Array(Elements { count: 0, .. }) => {
            let message = format!("Invalid '{param}': empty array. Expected at least one element.");
            return Err(PeekError::param("empty_array", param, message));
        }
        Shape::Array(Elements { kind: Some(Kind::Integer), .. }) => (1, true),
        Shape::Array(Elements { kind: Some(Kind::Text), count }) => (*count, false),
        Shape::Array(Elements { kind: Some(Kind::Array), count }) => (*count, true),
        Shape::Array(_) => {
            return Err(PeekError::wrong_type(param, expected, "an array of something else"));
        }
        other => return Err(other.is_not(param, expected)),
    };
    if prompts > prompts_max {
        let message = format!("Invalid '{param}': expected at most {prompts_max} elements.");
        return Err(PeekError::param("array_above_max_length", param, message));
    }
    Ok(Content { prompts, items: 0, has_token_ids })
}

/// `n` of each prompt.
fn choices(n: u32, prompts: u32) -> Result<u32, PeekError> {
    let all = n.saturating_mul(prompts);
    if all > CHOICES_MAX {
        let message = format!(
            "Invalid 'n': {n} choices of each of {prompts} prompts are more than {CHOICES_MAX}."
        );
        return Err(PeekError::param("integer_out_of_range", "n", message));
    }
    Ok(all)
}
