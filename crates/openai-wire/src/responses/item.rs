//! The items of a request's input: what was said and called so far.

use serde_json::Value;

use crate::chat::{Content, content};
use crate::fields::{Checked, Fields};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRole {
    User,
    Assistant,
    System,
    Developer,
}

/// One item of the input, in the order in which the conversation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// With or without `type`, `id` and `status`: clients send back what they got, and shorter
    /// forms too.
    Message {
        role: MessageRole,
        content: Content,
    },
    /// A call that the model made.
    FunctionCall {
        call_id: String,
        name: String,
        /// JSON as text.
        arguments: String,
    },
    FunctionCallOutput {
        call_id: String,
        output: Content,
    },
    /// A call with free text for its input.
    CustomToolCall {
        call_id: String,
        name: String,
        input: String,
    },
    CustomToolCallOutput {
        call_id: String,
        output: Content,
    },
    /// What the model thought before its next item: its `content`, else its `summary`.
    Reasoning {
        text: String,
    },
    /// Points at an item of an earlier answer.
    Reference {
        id: String,
    },
    /// A call of a tool that the platform hosts, or what comes next.
    Other {
        kind: String,
    },
}

impl Item {
    pub(super) fn parse(index: usize, value: Value) -> Checked<Self> {
        let mut fields = Fields::at(format!("input[{index}]"), value)?;
        let Some(kind) = fields.text("type")? else { return untyped(fields) };
        match kind.as_str() {
            "message" => message(&required(&mut fields, "role")?, fields),
            "function_call" => Ok(Self::FunctionCall {
                call_id: required(&mut fields, "call_id")?,
                name: required(&mut fields, "name")?,
                arguments: arguments(&mut fields),
            }),
            "function_call_output" => Ok(Self::FunctionCallOutput {
                call_id: required(&mut fields, "call_id")?,
                output: content(&mut fields, "output")?.unwrap_or(Content::Parts(Vec::new())),
            }),
            "custom_tool_call" => Ok(Self::CustomToolCall {
                call_id: required(&mut fields, "call_id")?,
                name: required(&mut fields, "name")?,
                input: fields.text("input")?.unwrap_or_default(),
            }),
            "custom_tool_call_output" => Ok(Self::CustomToolCallOutput {
                call_id: required(&mut fields, "call_id")?,
                output: content(&mut fields, "output")?.unwrap_or(Content::Parts(Vec::new())),
            }),
            "reasoning" => Ok(Self::Reasoning { text: reasoning(&mut fields)? }),
            "item_reference" => Ok(Self::Reference { id: required(&mut fields, "id")? }),
            _ => Ok(Self::Other { kind }),
        }
    }
}

/// Without a `type`, a role makes a message, and an id alone a reference.
fn untyped(mut fields: Fields) -> Checked<Item> {
    if let Some(role) = fields.text("role")? {
        return message(&role, fields);
    }
    match fields.text("id")? {
        Some(id) => Ok(Item::Reference { id }),
        None => Err(fields.missing("type")),
    }
}

fn message(role: &str, mut fields: Fields) -> Checked<Item> {
    let role = match role {
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        "system" => MessageRole::System,
        "developer" => MessageRole::Developer,
        _ => {
            let why = "supported roles are user, assistant, system and developer";
            return Err(fields.invalid("role", why));
        }
    };
    match content(&mut fields, "content")? {
        Some(content) => Ok(Item::Message { role, content }),
        // A turn that only called tools.
        None if role == MessageRole::Assistant => {
            Ok(Item::Message { role, content: Content::Parts(Vec::new()) })
        }
        None => Err(fields.missing("content")),
    }
}

fn required(fields: &mut Fields, key: &str) -> Checked<String> {
    let Some(text) = fields.text(key)? else { return Err(fields.missing(key)) };
    Ok(text)
}

/// Some clients send the arguments as an object where the API says text.
fn arguments(fields: &mut Fields) -> String {
    match fields.take("arguments") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

/// The thoughts in clear; what is encrypted was encrypted by another server and says nothing.
fn reasoning(fields: &mut Fields) -> Checked<String> {
    let mut texts = Vec::new();
    for key in ["content", "summary"] {
        let path = fields.name(key);
        for (index, value) in fields.array(key)?.unwrap_or_default().into_iter().enumerate() {
            let mut part = Fields::at(format!("{path}[{index}]"), value)?;
            texts.extend(part.text("text")?);
        }
        if !texts.is_empty() {
            break;
        }
    }
    Ok(texts.join("\n\n"))
}
