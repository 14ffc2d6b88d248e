//! The tools of a chat as the engine gets them: functions alone, checked, and narrowed to those
//! that the client allows.

use cocoon_openai_wire::chat::{self, FunctionTool, Tool};
use cocoon_openai_wire::error::InvalidRequest;
use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::limits::Limits;
use crate::engine::ToolChoice;

/// Names the dialect of a schema. Clients write what they like there; it is read as the newest.
pub(super) const DIALECT: &str = "$schema";

/// What the model is offered.
#[derive(Debug)]
pub(super) struct Offer {
    /// Definitions in OpenAI's nested form, in the client's order.
    pub(super) tools: Vec<Value>,
    pub(super) choice: ToolChoice,
    /// Types of the tools that were left out, each once.
    pub(super) dropped: Vec<String>,
}

/// Checks tools and choice against each other and against the limits. `param` is the name under
/// which the choice came.
pub(super) fn offer(
    tools: Vec<Tool>,
    choice: chat::ToolChoice,
    param: &str,
    limits: &Limits,
) -> Result<Offer, InvalidRequest> {
    let (mut functions, mut dropped) = (Vec::new(), Vec::new());
    for tool in tools {
        match tool {
            Tool::Function(function) => functions.push(checked(function, limits)?),
            // Clients offer them everywhere, and an answer that does without is a good one.
            Tool::Other { kind } => note(&mut dropped, kind),
        }
    }
    let is_offered =
        |functions: &[FunctionTool], name: &str| functions.iter().any(|one| one.name == name);
    let unsupported = |why: &str| Err(InvalidRequest::unsupported(param, why));
    let choice = match choice {
        chat::ToolChoice::Auto => ToolChoice::Auto,
        chat::ToolChoice::None => ToolChoice::None,
        chat::ToolChoice::Required => ToolChoice::Required,
        chat::ToolChoice::Function(name) if is_offered(&functions, &name) => {
            ToolChoice::Named(name)
        }
        chat::ToolChoice::Function(_) => {
            let message = format!("Invalid '{param}': it names a function that is not in 'tools'.");
            return Err(InvalidRequest::param("invalid_value", param, message));
        }
        chat::ToolChoice::Allowed { is_required, names } => {
            functions.retain(|function| names.contains(&function.name));
            if functions.is_empty() {
                let message = format!("Invalid '{param}': it allows nothing that is in 'tools'.");
                return Err(InvalidRequest::param("invalid_value", param, message));
            }
            if is_required { ToolChoice::Required } else { ToolChoice::Auto }
        }
        chat::ToolChoice::Other { .. } => {
            return unsupported("Only functions can be called: tools of other types are left out.");
        }
    };
    if choice == ToolChoice::Required && functions.is_empty() {
        return unsupported("There is no function that could be called.");
    }
    let tools = functions.into_iter().map(definition).collect();
    Ok(Offer { tools, choice, dropped })
}

/// Kinds of what was left out, and characters of one: together they fit into the kibibyte that a
/// gateway passes on.
const KINDS_MAX: usize = 16;
const KIND_CHARS_MAX: usize = 60;

/// Notes a kind that was left out, once.
pub(super) fn note(dropped: &mut Vec<String>, kind: String) {
    let kind = match kind.char_indices().nth(KIND_CHARS_MAX) {
        Some((end, _)) => kind[..end].to_owned(),
        None => kind,
    };
    if dropped.len() < KINDS_MAX && !dropped.contains(&kind) {
        dropped.push(kind);
    }
}

/// The kinds that were noted, for the header. Clients write them, so one that no header can say is
/// left out of the list.
pub(super) fn dropped_header(dropped: &[String]) -> Option<HeaderValue> {
    if dropped.is_empty() {
        return None;
    }
    let is_plain = |kind: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        !kind.is_empty() && kind.bytes().all(plain)
    };
    let kinds: Vec<_> = dropped.iter().map(String::as_str).filter(is_plain).collect();
    let text = if kinds.is_empty() { "unknown".to_owned() } else { kinds.join(",") };
    HeaderValue::from_str(&text).ok()
}

fn checked(mut function: FunctionTool, limits: &Limits) -> Result<FunctionTool, InvalidRequest> {
    let path = &function.path;
    limits.check_tool_name(&format!("{path}.name"), &function.name)?;
    if let Some(description) = &function.description {
        limits.check_tool_description(&format!("{path}.description"), description)?;
    }
    if let Some(mut parameters) = function.parameters.take() {
        parameters.shift_remove(DIALECT);
        let schema = Value::Object(parameters);
        limits.check_schema(&format!("{path}.parameters"), &schema)?;
        let Value::Object(parameters) = schema else { unreachable!("it was made an object") };
        function.parameters = Some(parameters);
    }
    Ok(function)
}

/// What templates and grammars read. Without parameters a function takes none.
fn definition(function: FunctionTool) -> Value {
    let mut inner = Map::new();
    inner.insert("name".to_owned(), function.name.into());
    if let Some(description) = function.description {
        inner.insert("description".to_owned(), description.into());
    }
    let parameters = match function.parameters {
        Some(parameters) => Value::Object(parameters),
        None => json!({ "type": "object", "properties": {} }),
    };
    inner.insert("parameters".to_owned(), parameters);
    if function.strict {
        inner.insert("strict".to_owned(), true.into());
    }
    json!({ "type": "function", "function": inner })
}
