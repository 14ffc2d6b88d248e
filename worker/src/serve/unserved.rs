//! Parameters that this server does not have, and that would change the answer: of another
//! endpoint, of an older form of this one, or of another server. Whoever sends one is told its
//! name here instead of an answer that does without.
//!
//! Everything else that nobody knows is ignored: the contract lists what that is.

use cocoon_openai_wire::error::InvalidRequest;
use serde_json::{Map, Value};

/// What the parameter is called here, or why there is none.
type Unserved = (&'static str, &'static str);

pub(super) const CHAT: &[Unserved] = &[
    ("audio", "Only text is made."),
    ("web_search_options", "Nothing is searched for."),
    ("moderation", "Nothing is moderated."),
    ("guided_json", INSTEAD_FORMAT),
    ("guided_regex", INSTEAD_FORMAT),
    ("guided_choice", INSTEAD_FORMAT),
    ("guided_grammar", INSTEAD_FORMAT),
    ("structured_outputs", INSTEAD_FORMAT),
];

pub(super) const RESPONSES: &[Unserved] = &[
    ("conversation", "Conversations are not stored: send the whole conversation as 'input'."),
    ("prompt", "Prompt templates are not stored: send 'instructions' and 'input'."),
    ("moderation", "Nothing is moderated."),
    ("messages", "This endpoint calls it 'input'."),
    ("max_tokens", "This endpoint calls it 'max_output_tokens'."),
    ("max_completion_tokens", "This endpoint calls it 'max_output_tokens'."),
    ("response_format", "This endpoint calls it 'text.format'."),
    ("reasoning_effort", "This endpoint calls it 'reasoning.effort'."),
    ("functions", "This endpoint calls them 'tools'."),
    ("function_call", "This endpoint calls it 'tool_choice'."),
    ("stop", INSTEAD_CHAT),
    ("seed", INSTEAD_CHAT),
    ("logit_bias", INSTEAD_CHAT),
    ("guided_json", INSTEAD_TEXT_FORMAT),
    ("guided_regex", INSTEAD_TEXT_FORMAT),
    ("guided_choice", INSTEAD_TEXT_FORMAT),
    ("guided_grammar", INSTEAD_TEXT_FORMAT),
    ("structured_outputs", INSTEAD_TEXT_FORMAT),
];

pub(super) const COMPLETIONS: &[Unserved] = &[
    ("max_completion_tokens", "This endpoint calls it 'max_tokens'."),
    ("messages", "This endpoint takes a 'prompt'; chat completions take messages."),
    ("response_format", INSTEAD_FORMAT_OF_CHAT),
    ("tools", INSTEAD_CHAT),
    ("functions", INSTEAD_CHAT),
    ("guided_json", INSTEAD_FORMAT_OF_CHAT),
    ("guided_regex", INSTEAD_FORMAT_OF_CHAT),
    ("guided_choice", INSTEAD_FORMAT_OF_CHAT),
    ("guided_grammar", INSTEAD_FORMAT_OF_CHAT),
    ("structured_outputs", INSTEAD_FORMAT_OF_CHAT),
];

const INSTEAD_FORMAT: &str = "Send a schema in 'response_format' instead.";
const INSTEAD_TEXT_FORMAT: &str = "Send a schema in 'text.format' instead.";
const INSTEAD_FORMAT_OF_CHAT: &str =
    "Send a chat completion, with a schema in 'response_format', instead.";
const INSTEAD_CHAT: &str = "This endpoint has none; chat completions have.";

/// Refuses the first parameter of `unserved` that is there. `null` is absence.
pub(super) fn check(
    extra: &Map<String, Value>,
    unserved: &[Unserved],
) -> Result<(), InvalidRequest> {
    let is_given = |name: &str| extra.get(name).is_some_and(|value| !value.is_null());
    match unserved.iter().find(|(name, _)| is_given(name)) {
        None => Ok(()),
        Some((name, why)) => {
            let message = format!("'{name}' is not supported. {why}");
            Err(InvalidRequest::unsupported(*name, message))
        }
    }
}
