//! From the messages of a chat to those that a template takes: content as one text, and one system
//! message at the start, which many templates demand.

use cocoon_openai_wire::chat::{Content, Message, Part, Role};
use cocoon_openai_wire::error::InvalidRequest;
use serde_json::{Map, Value};

/// Flattens a conversation. Messages of the system and the developer that lead it become one;
/// later ones keep their place. What a function said under its deprecated role answers the last
/// call of its name.
pub(super) fn flatten(messages: Vec<Message>) -> Result<Vec<Value>, InvalidRequest> {
    let mut flat = Vec::with_capacity(messages.len());
    let mut leading: Vec<String> = Vec::new();
    let mut called = Vec::new();
    for (index, mut message) in messages.into_iter().enumerate() {
        let path = format!("messages[{index}].content");
        let content = text(message.content.take(), &path)?;
        // Templates know no developer; what one says has a system message's weight.
        let is_system = matches!(message.role, Role::System | Role::Developer);
        if is_system && flat.is_empty() {
            leading.extend(content.filter(|text| !text.is_empty()));
            continue;
        }
        if !leading.is_empty() {
            flat.push(system(&std::mem::take(&mut leading)));
        }
        for call in &message.tool_calls {
            called.push((call.function.name.clone(), call.id.clone()));
        }
        if message.role == Role::Function {
            let is_own = |(name, _): &&(String, String)| Some(name) == message.name.as_ref();
            let call = called.iter().rev().find(is_own).map(|(_, id)| id.clone());
            message.tool_call_id = message.tool_call_id.or(call);
        }
        flat.push(one(message, content));
    }
    if !leading.is_empty() {
        flat.push(system(&leading));
    }
    Ok(flat)
}

fn system(texts: &[String]) -> Value {
    let text = Value::String(texts.join("\n\n"));
    [("role", "system".into()), ("content", text)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<Map<_, _>>()
        .into()
}

/// A message that leads no conversation.
fn one(message: Message, content: Option<String>) -> Value {
    let role = match message.role {
        Role::Developer | Role::System => Role::System,
        Role::Tool | Role::Function => Role::Tool,
        role => role,
    };
    // `null` says that an assistant only called; templates add up anything else as text.
    let content = match content {
        None if !message.tool_calls.is_empty() => Value::Null,
        content => content.unwrap_or_default().into(),
    };
    let mut flat = Map::new();
    flat.insert("role".to_owned(), role.as_str().into());
    flat.insert("content".to_owned(), content);
    let texts = [
        ("name", message.name),
        ("reasoning_content", message.reasoning_content),
        ("tool_call_id", message.tool_call_id),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            flat.insert(key.to_owned(), text.into());
        }
    }
    if !message.tool_calls.is_empty() {
        let calls = serde_json::to_value(message.tool_calls).expect("calls are plain text");
        flat.insert("tool_calls".to_owned(), calls);
    }
    flat.into()
}

/// Content at `path` as one text, its parts joined by line breaks; `None` where there is none.
fn text(content: Option<Content>, path: &str) -> Result<Option<String>, InvalidRequest> {
    let parts = match content {
        None => return Ok(None),
        Some(Content::Text(text)) => return Ok(Some(text)),
        Some(Content::Parts(parts)) => parts,
    };
    let part = |(index, part)| match part {
        Part::Text(text) | Part::Refusal(text) => Ok(text),
        Part::Other { .. } => {
            let why = "Only parts of text are supported.";
            Err(InvalidRequest::unsupported(format!("{path}[{index}]"), why))
        }
    };
    let texts = parts.into_iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(texts.join("\n")))
}
