//! Which tools the model is told of, in the words that chats use for them.
//!
//! Functions are, and custom tools that take plain text, as functions of one text. Those that a
//! platform would host, namespaces, and custom tools whose text must follow a grammar are left
//! out and named in a header: agents offer them to everybody, and an answer that does without is
//! a good one. To demand one of those is another matter, and refused.

use cocoon_openai_wire::chat::{self, FunctionTool};
use cocoon_openai_wire::responses::{AllowedTool, Tool, ToolChoice};
use serde_json::{Map, Value, json};

/// The one parameter of the function that a custom tool is to the model.
pub(super) const CUSTOM_INPUT: &str = "input";

pub(super) fn is_served(tool: &Tool) -> bool {
    match tool {
        Tool::Function { .. } => true,
        Tool::Custom { has_grammar, .. } => !has_grammar,
        Tool::Other { .. } => false,
    }
}

/// The names of the custom tools among those that are served.
pub(super) fn customs(tools: &[Tool]) -> Vec<String> {
    let customs = tools.iter().filter(|tool| is_served(tool) && tool.kind() == "custom");
    customs.filter_map(|tool| tool.name().map(str::to_owned)).collect()
}

/// The tools as a chat would offer them.
pub(super) fn as_chat(tools: &[Tool]) -> Vec<chat::Tool> {
    let other = |tool: &Tool| chat::Tool::Other { kind: tool.kind().to_owned() };
    let one = |(index, tool): (usize, &Tool)| {
        let (name, description, parameters, strict) = match tool {
            Tool::Function { name, description, parameters, strict } => {
                (name, description, parameters.clone(), strict.unwrap_or(false))
            }
            Tool::Custom { name, description, has_grammar: false } => {
                (name, description, Some(text_parameters()), false)
            }
            Tool::Custom { .. } | Tool::Other { .. } => return other(tool),
        };
        chat::Tool::Function(FunctionTool {
            path: format!("tools[{index}]"),
            name: name.clone(),
            description: description.clone(),
            parameters,
            strict,
        })
    };
    tools.iter().enumerate().map(one).collect()
}

/// The choice as a chat would make it. A tool that is named with another type than it was offered
/// with is no tool at all.
pub(super) fn choice_as_chat(choice: &ToolChoice, tools: &[Tool]) -> chat::ToolChoice {
    let is_there = |kind: &str, name: &str| {
        let is_it = |tool: &Tool| tool.kind() == kind && tool.name() == Some(name);
        tools.iter().any(|tool| is_served(tool) && is_it(tool))
    };
    let named = |kind: &str, name: &str| match is_there(kind, name) {
        true => chat::ToolChoice::Function(name.to_owned()),
        // A name that no function can have.
        false => chat::ToolChoice::Function(String::new()),
    };
    match choice {
        ToolChoice::Auto => chat::ToolChoice::Auto,
        ToolChoice::None => chat::ToolChoice::None,
        ToolChoice::Required => chat::ToolChoice::Required,
        ToolChoice::Function { name } => named("function", name),
        ToolChoice::Custom { name } => named("custom", name),
        ToolChoice::Hosted { kind } => chat::ToolChoice::Other { kind: kind.clone() },
        ToolChoice::Allowed { is_required, tools: allowed } => {
            let name = |tool: &AllowedTool| tool.name.clone().filter(|it| is_there(&tool.kind, it));
            let names = allowed.iter().filter_map(name).collect();
            chat::ToolChoice::Allowed { is_required: *is_required, names }
        }
    }
}

fn text_parameters() -> Map<String, Value> {
    let text = json!({"type": "string", "description": "The tool's input, as plain text."});
    let properties: Map<_, _> = [(CUSTOM_INPUT.to_owned(), text)].into_iter().collect();
    [
        ("type", "object".into()),
        ("properties", properties.into()),
        ("required", json!([CUSTOM_INPUT])),
        ("additionalProperties", false.into()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
