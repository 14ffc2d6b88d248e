//! Tools, and the choice among them.
//!
//! A tool of a type that is not known is never a reason to refuse a request: it is read as
//! [`Tool::Other`], and whoever serves the request leaves it out. The deprecated `functions` and
//! `function_call` are read as the tools and the choice that they are.

use serde_json::{Map, Value};

use crate::fields::{Checked, Fields};

/// One tool that the model is offered.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    Function(FunctionTool),
    /// `custom`, `web_search`, `namespace`, `mcp`, or what comes next.
    Other {
        kind: String,
    },
}

/// A function, its types checked, its sizes not.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionTool {
    /// Where it stands in the body: `tools[0].function`, or `tools[0]` of a flat one.
    pub path: String,
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema in the client's order; `None` for a function without parameters.
    pub parameters: Option<Map<String, Value>>,
    pub strict: bool,
}

/// Which tool the model has to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Function(String),
    /// Of the tools offered only these functions.
    Allowed {
        is_required: bool,
        names: Vec<String>,
    },
    /// A tool of another type, such as `custom`.
    Other {
        kind: String,
    },
}

pub(super) fn tools(fields: &mut Fields) -> Checked<Vec<Tool>> {
    let tools = fields.array("tools")?.unwrap_or_default();
    let read = |(index, value)| tool(Fields::at(format!("tools[{index}]"), value)?);
    tools.into_iter().enumerate().map(read).collect()
}

fn tool(mut fields: Fields) -> Checked<Tool> {
    let kind = fields.text("type")?;
    let nested = match kind.as_deref() {
        None | Some("function") => fields.object("function")?,
        Some(_) => None,
    };
    match (kind, nested) {
        // Some clients leave out the type of the only type that they know.
        (_, Some(nested)) => function(nested).map(Tool::Function),
        (None, None) => Err(fields.missing("type")),
        (Some(kind), None) if kind == "function" => match fields.has("name") {
            // Flat, as the Responses API writes it.
            true => function(fields).map(Tool::Function),
            false => Err(fields.missing("function")),
        },
        (Some(kind), None) => Ok(Tool::Other { kind }),
    }
}

/// Reads the deprecated `functions`.
pub(super) fn functions(fields: &mut Fields) -> Checked<Vec<Tool>> {
    let functions = fields.array("functions")?.unwrap_or_default();
    let read = |(index, value)| {
        function(Fields::at(format!("functions[{index}]"), value)?).map(Tool::Function)
    };
    functions.into_iter().enumerate().map(read).collect()
}

fn function(mut fields: Fields) -> Checked<FunctionTool> {
    let Some(name) = fields.text("name")? else { return Err(fields.missing("name")) };
    Ok(FunctionTool {
        name,
        description: fields.text("description")?,
        parameters: fields.object("parameters")?.map(Fields::rest),
        strict: fields.boolean("strict")?.unwrap_or(false),
        path: fields.path(),
    })
}

/// Reads `tool_choice`, [`ToolChoice::Auto`] where it is absent.
pub(super) fn tool_choice(fields: &mut Fields) -> Checked<ToolChoice> {
    let mut choice = match fields.take("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => {
            return match word.as_str() {
                "auto" => Ok(ToolChoice::Auto),
                "none" => Ok(ToolChoice::None),
                "required" => Ok(ToolChoice::Required),
                _ => Err(fields.invalid("tool_choice", "supported are none, auto and required")),
            };
        }
        Some(value) => Fields::at("tool_choice".to_owned(), value)?,
    };
    let Some(kind) = choice.text("type")? else { return Err(choice.missing("type")) };
    match kind.as_str() {
        "function" => named(&mut choice).map(ToolChoice::Function),
        "allowed_tools" => match choice.object("allowed_tools")? {
            Some(inner) => allowed(inner),
            None => Err(choice.missing("allowed_tools")),
        },
        _ => Ok(ToolChoice::Other { kind }),
    }
}

/// Reads the deprecated `function_call`; `None` where it is absent.
pub(super) fn function_call(fields: &mut Fields) -> Checked<Option<ToolChoice>> {
    match fields.take("function_call") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            _ => Err(fields.invalid("function_call", "supported are none and auto")),
        },
        Some(value) => {
            let mut call = Fields::at("function_call".to_owned(), value)?;
            let name = call.text("name")?.ok_or_else(|| call.missing("name"))?;
            Ok(Some(ToolChoice::Function(name)))
        }
    }
}

fn named(fields: &mut Fields) -> Checked<String> {
    let Some(mut nested) = fields.object("function")? else {
        return Err(fields.missing("function"));
    };
    nested.text("name")?.ok_or_else(|| nested.missing("name"))
}

fn allowed(mut fields: Fields) -> Checked<ToolChoice> {
    let is_required = match fields.text("mode")?.as_deref() {
        None | Some("auto") => false,
        Some("required") => true,
        Some(_) => return Err(fields.invalid("mode", "supported are auto and required")),
    };
    let path = fields.name("tools");
    let Some(tools) = fields.array("tools")? else { return Err(fields.missing("tools")) };
    let mut names = Vec::new();
    for (index, tool) in tools.into_iter().enumerate() {
        let mut tool = Fields::at(format!("{path}[{index}]"), tool)?;
        // A tool of another type is none of the functions.
        if tool.text("type")?.is_none_or(|kind| kind == "function") {
            names.push(named(&mut tool)?);
        }
    }
    Ok(ToolChoice::Allowed { is_required, names })
}
