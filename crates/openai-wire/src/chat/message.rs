//! The messages of a request.

use serde_json::{Map, Value, json};

use super::answer::ToolCall;
use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields, name_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Developer,
    System,
    User,
    Assistant,
    Tool,
    /// Deprecated: the answer of a function.
    Function,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Function => "function",
        }
    }
}

/// One message of the conversation so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    /// `None` for `null` or no content at all: an assistant that only called tools, a tool that
    /// had nothing to say.
    pub content: Option<Content>,
    pub name: Option<String>,
    pub reasoning_content: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    pub tool_call_id: Option<String>,
    /// Everything else, as it came.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Refusal(String),
    /// An image, a file, a sound, or what comes next.
    Other {
        kind: String,
    },
}

impl Message {
    /// The message at `index`.
    pub(super) fn parse(index: usize, value: Value) -> Checked<Self> {
        let mut fields = Fields::at(format!("messages[{index}]"), value)?;
        let role = role(&mut fields)?;
        let content = content(&mut fields, "content")?;
        if content.is_none() && !matches!(role, Role::Assistant | Role::Tool | Role::Function) {
            return Err(fields.missing("content"));
        }
        let tool_calls = match role {
            Role::Assistant => tool_calls(&mut fields, &function_call_id(index))?,
            _ => Vec::new(),
        };
        Ok(Self {
            role,
            content,
            name: fields.text("name")?,
            reasoning_content: fields.text("reasoning_content")?,
            tool_calls,
            tool_call_id: fields.text("tool_call_id")?,
            extra: fields.rest(),
        })
    }
}

fn role(fields: &mut Fields) -> Checked<Role> {
    let Some(role) = fields.text("role")? else { return Err(fields.missing("role")) };
    Ok(match role.as_str() {
        "developer" => Role::Developer,
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        "function" => Role::Function,
        _ => {
            let why = "supported roles are developer, system, user, assistant and tool";
            return Err(fields.invalid("role", why));
        }
    })
}

/// Text, or parts of it, under `key`: the same in conversations of chat and of responses.
pub(crate) fn content(fields: &mut Fields, key: &str) -> Checked<Option<Content>> {
    let path = fields.name(key);
    let parts = match fields.take(key) {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(Content::Text(text))),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            let expected = "a string or an array of parts";
            return Err(InvalidRequest::wrong_type(&path, expected, name_of(&other)));
        }
    };
    let parts = parts
        .into_iter()
        .enumerate()
        .map(|(index, value)| part(Fields::at(format!("{path}[{index}]"), value)?))
        .collect::<Checked<_>>()?;
    Ok(Some(Content::Parts(parts)))
}

fn part(mut fields: Fields) -> Checked<Part> {
    let Some(kind) = fields.text("type")? else { return Err(fields.missing("type")) };
    let text = match kind.as_str() {
        // Each API has names of its own, and conversations of one are sent to the other.
        "text" | "input_text" | "output_text" => "text",
        "refusal" => "refusal",
        _ => return Ok(Part::Other { kind }),
    };
    let Some(value) = fields.text(text)? else { return Err(fields.missing(text)) };
    Ok(if text == "text" { Part::Text(value) } else { Part::Refusal(value) })
}

/// The deprecated `function_call` is the one call of its message; `id` is its id, since it has none.
fn tool_calls(fields: &mut Fields, id: &str) -> Checked<Vec<ToolCall>> {
    let path = fields.name("tool_calls");
    let calls = fields.array("tool_calls")?.unwrap_or_default();
    let call = |(index, value)| {
        let mut call = Fields::at(format!("{path}[{index}]"), value)?;
        let id = call.text("id")?.unwrap_or_default();
        // Calls of custom tools stay calls, of a function with one text.
        match (call.object("function")?, call.object("custom")?) {
            (Some(function), _) => function_of(function, id),
            (None, Some(custom)) => custom_of(custom, id),
            (None, None) => Err(call.missing("function")),
        }
    };
    let calls = calls.into_iter().enumerate().map(call).collect::<Checked<Vec<_>>>()?;
    match fields.object("function_call")? {
        Some(function) if calls.is_empty() => Ok(vec![function_of(function, id.to_owned())?]),
        _ => Ok(calls),
    }
}

fn function_of(mut function: Fields, id: String) -> Checked<ToolCall> {
    let Some(name) = function.text("name")? else { return Err(function.missing("name")) };
    // Some clients send the arguments as an object where the API says text.
    let arguments = match function.take("arguments") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    Ok(ToolCall::new(id, name, arguments))
}

fn custom_of(mut custom: Fields, id: String) -> Checked<ToolCall> {
    let Some(name) = custom.text("name")? else { return Err(custom.missing("name")) };
    let arguments = json!({ "input": custom.text("input")? });
    Ok(ToolCall::new(id, name, arguments.to_string()))
}

/// The id of the call in the message at `index`, where it came without one.
fn function_call_id(index: usize) -> String {
    format!("call_{index}")
}
