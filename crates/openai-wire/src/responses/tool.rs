//! The tools of a request and which of them may be called.

use serde_json::{Map, Value, json};

use crate::fields::{Checked, Fields};

/// A tool as this API writes it: flat, unlike chat's.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    Function {
        name: String,
        description: Option<String>,
        /// A JSON schema; an object.
        parameters: Option<Map<String, Value>>,
        strict: Option<bool>,
    },
    /// Takes free text, or text of a grammar.
    Custom {
        name: String,
        description: Option<String>,
        /// Whether `format` names a grammar that the text must follow.
        has_grammar: bool,
    },
    /// One that the platform would host, a namespace of tools, or what comes next.
    Other { kind: String },
}

impl Tool {
    pub(super) fn parse(index: usize, value: Value) -> Checked<Self> {
        let mut fields = Fields::at(format!("tools[{index}]"), value)?;
        let Some(kind) = fields.text("type")? else { return Err(fields.missing("type")) };
        match kind.as_str() {
            "function" => Ok(Self::Function {
                name: name(&mut fields)?,
                description: fields.text("description")?,
                parameters: fields.object("parameters")?.map(Fields::rest),
                strict: fields.boolean("strict")?,
            }),
            "custom" => Ok(Self::Custom {
                name: name(&mut fields)?,
                description: fields.text("description")?,
                has_grammar: match fields.object("format")? {
                    Some(mut format) => format.text("type")?.is_some_and(|kind| kind != "text"),
                    None => false,
                },
            }),
            _ => Ok(Self::Other { kind }),
        }
    }

    /// The `type`, as it came.
    pub fn kind(&self) -> &str {
        match self {
            Self::Function { .. } => "function",
            Self::Custom { .. } => "custom",
            Self::Other { kind } => kind,
        }
    }

    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Function { name, .. } | Self::Custom { name, .. } => Some(name),
            Self::Other { .. } => None,
        }
    }
}

/// Whether the model may, or must, call a tool, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Function {
        name: String,
    },
    Custom {
        name: String,
    },
    /// Only these, of all that are offered.
    Allowed {
        /// `mode` is `required` rather than `auto`.
        is_required: bool,
        tools: Vec<AllowedTool>,
    },
    /// A tool that the platform would host, by its type.
    Hosted {
        kind: String,
    },
}

/// A tool as `allowed_tools` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedTool {
    pub kind: String,
    pub name: Option<String>,
}

impl ToolChoice {
    pub(super) fn parse(fields: &mut Fields) -> Checked<Self> {
        let value = match fields.take("tool_choice") {
            None => return Ok(Self::Auto),
            Some(Value::String(word)) => {
                return match word.as_str() {
                    "auto" => Ok(Self::Auto),
                    "none" => Ok(Self::None),
                    "required" => Ok(Self::Required),
                    _ => {
                        Err(fields.invalid("tool_choice", "supported are none, auto and required"))
                    }
                };
            }
            Some(value) => value,
        };
        let mut choice = Fields::at("tool_choice".to_owned(), value)?;
        let Some(kind) = choice.text("type")? else { return Err(choice.missing("type")) };
        match kind.as_str() {
            "function" => Ok(Self::Function { name: name(&mut choice)? }),
            "custom" => Ok(Self::Custom { name: name(&mut choice)? }),
            "allowed_tools" => allowed(choice),
            _ => Ok(Self::Hosted { kind }),
        }
    }

    /// The choice in the words of the API.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Auto => "auto".into(),
            Self::None => "none".into(),
            Self::Required => "required".into(),
            Self::Function { name } => json!({"type": "function", "name": name}),
            Self::Custom { name } => json!({"type": "custom", "name": name}),
            Self::Allowed { is_required, tools } => {
                let mode = if *is_required { "required" } else { "auto" };
                let tools: Vec<_> = tools.iter().map(AllowedTool::to_value).collect();
                json!({"type": "allowed_tools", "mode": mode, "tools": tools})
            }
            Self::Hosted { kind } => json!({"type": kind}),
        }
    }
}

impl AllowedTool {
    fn to_value(&self) -> Value {
        match &self.name {
            Some(name) => json!({"type": self.kind, "name": name}),
            None => json!({"type": self.kind}),
        }
    }
}

fn allowed(mut choice: Fields) -> Checked<ToolChoice> {
    let is_required = match choice.text("mode")?.as_deref() {
        None | Some("auto") => false,
        Some("required") => true,
        Some(_) => return Err(choice.invalid("mode", "supported are auto and required")),
    };
    let Some(tools) = choice.array("tools")? else { return Err(choice.missing("tools")) };
    let tool = |(index, value)| {
        let mut tool = Fields::at(format!("tool_choice.tools[{index}]"), value)?;
        let Some(kind) = tool.text("type")? else { return Err(tool.missing("type")) };
        Ok(AllowedTool { kind, name: tool.text("name")? })
    };
    let tools = tools.into_iter().enumerate().map(tool).collect::<Checked<_>>()?;
    Ok(ToolChoice::Allowed { is_required, tools })
}

fn name(fields: &mut Fields) -> Checked<String> {
    match fields.text("name")? {
        None => Err(fields.missing("name")),
        Some(name) if name.is_empty() => Err(fields.invalid("name", "it is empty")),
        Some(name) => Ok(name),
    }
}
