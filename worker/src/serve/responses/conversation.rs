//! From the input's items to the messages that a chat template knows.
//!
//! What the model did in one go is one assistant's turn: its thoughts, its text, and every call
//! that follows without anything between. Instructions and the system's and developer's messages
//! at the start become one system message, since many templates take exactly one, at the start.
//! Thoughts go back to the model as `reasoning_content` of the turn that they led to; a template
//! that has no use for them leaves them out.

use cocoon_openai_wire::chat::{Content, Part, ToolCall};
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::responses::{Item, MessageRole};
use serde_json::{Map, Value, json};

use super::items::REASONING_PREFIX;
use super::tools::CUSTOM_INPUT;
use crate::serve::tools::note;

/// The messages, and what of the input they leave out.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Value>,
    /// Types of items that no template has words for, as they came: calls of hosted tools.
    pub(super) dropped: Vec<String>,
}

/// One conversation of everything that the request says.
pub(super) fn conversation(
    instructions: Option<String>,
    items: Vec<Item>,
) -> Result<Conversation, InvalidRequest> {
    let mut draft = Draft::default();
    draft.system.extend(instructions.filter(|text| !text.is_empty()));
    for (index, item) in items.into_iter().enumerate() {
        draft.add(index, item)?;
    }
    draft.finish()
}

#[derive(Default)]
struct Draft {
    /// What the one leading system message is made of.
    system: Vec<String>,
    messages: Vec<Value>,
    turn: Turn,
    dropped: Vec<String>,
}

/// An assistant's turn as it grows.
#[derive(Default)]
struct Turn {
    reasoning: Vec<String>,
    content: Option<String>,
    calls: Vec<ToolCall>,
}

impl Turn {
    /// Whether there is more to it than thoughts.
    fn has_acted(&self) -> bool {
        self.content.is_some() || !self.calls.is_empty()
    }
}

impl Draft {
    fn add(&mut self, index: usize, item: Item) -> Result<(), InvalidRequest> {
        match item {
            Item::Message { role, content } => {
                let text = text(content, &format!("input[{index}].content"))?;
                self.message(role, text);
            }
            Item::FunctionCall { call_id, name, arguments } => {
                self.turn.calls.push(ToolCall::new(call_id, name, arguments));
            }
            Item::CustomToolCall { call_id, name, input } => {
                let arguments = json!({CUSTOM_INPUT: input}).to_string();
                self.turn.calls.push(ToolCall::new(call_id, name, arguments));
            }
            Item::FunctionCallOutput { call_id, output }
            | Item::CustomToolCallOutput { call_id, output } => {
                let text = text(output, &format!("input[{index}].output"))?;
                self.end_turn();
                self.push(json!({"role": "tool", "tool_call_id": call_id, "content": text}));
            }
            Item::Reasoning { text } if text.is_empty() => {}
            Item::Reasoning { text } => {
                if self.turn.has_acted() {
                    self.end_turn();
                }
                self.turn.reasoning.push(text);
            }
            // Thoughts of an earlier turn, which a conversation can do without.
            Item::Reference { id } if id.starts_with(REASONING_PREFIX) => {}
            Item::Reference { .. } => {
                let param = format!("input[{index}]");
                let message = format!(
                    "'{param}' refers to an item of an earlier response, and nothing is stored: \
                     send the item itself. Clients do so where 'store' is false."
                );
                return Err(InvalidRequest::param("item_not_found", param, message));
            }
            Item::Other { kind } => note(&mut self.dropped, kind),
        }
        Ok(())
    }

    fn message(&mut self, role: MessageRole, text: String) {
        let role = match role {
            MessageRole::Assistant => {
                if self.turn.has_acted() {
                    self.end_turn();
                }
                self.turn.content = Some(text);
                return;
            }
            MessageRole::User => "user",
            // Templates know no developer; what one says has a system message's weight.
            MessageRole::System | MessageRole::Developer => "system",
        };
        self.end_turn();
        if role == "system" && self.messages.is_empty() {
            self.system.extend(Some(text).filter(|text| !text.is_empty()));
        } else {
            self.push(json!({"role": role, "content": text}));
        }
    }

    /// Thoughts that led to nothing are left out.
    fn end_turn(&mut self) {
        let turn = std::mem::take(&mut self.turn);
        if !turn.has_acted() {
            return;
        }
        let mut flat = Map::new();
        flat.insert("role".to_owned(), "assistant".into());
        let content = turn.content.filter(|text| !text.is_empty() || turn.calls.is_empty());
        flat.insert("content".to_owned(), content.into());
        if !turn.reasoning.is_empty() {
            flat.insert("reasoning_content".to_owned(), turn.reasoning.join("\n\n").into());
        }
        if !turn.calls.is_empty() {
            let calls = serde_json::to_value(turn.calls).expect("calls are plain text");
            flat.insert("tool_calls".to_owned(), calls);
        }
        self.push(Value::Object(flat));
    }

    fn push(&mut self, message: Value) {
        self.messages.push(message);
    }

    fn finish(mut self) -> Result<Conversation, InvalidRequest> {
        self.end_turn();
        if !self.system.is_empty() {
            let text = self.system.join("\n\n");
            self.messages.insert(0, json!({"role": "system", "content": text}));
        }
        if self.messages.is_empty() {
            let message = "Invalid 'input': there is nothing in it for the model.";
            return Err(InvalidRequest::param("empty_array", "input", message));
        }
        Ok(Conversation { messages: self.messages, dropped: self.dropped })
    }
}

/// One string, the parts joined by line breaks.
fn text(content: Content, path: &str) -> Result<String, InvalidRequest> {
    let parts = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    let texts = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| match part {
            Part::Text(text) | Part::Refusal(text) => Ok(text),
            Part::Other { .. } => {
                let param = format!("{path}[{index}]");
                Err(InvalidRequest::unsupported(param, "Only parts of text are supported."))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("\n"))
}
