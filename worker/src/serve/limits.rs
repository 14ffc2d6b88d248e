//! Bounds of one request, as settings: what is over one of them is refused by name before any
//! engine hears of it. The checks are here too, so that every endpoint refuses in the same words.

use std::io;

use cocoon_openai_wire::error::InvalidRequest;
use serde_json::Value;

/// How much one request may hold, and how much of it is worked on at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Choices of one request that generate at once, as far as the engine has permits for them.
    pub choices_in_flight: u32,
    pub messages_max: usize,
    pub tools_max: usize,
    pub tool_name_bytes_max: usize,
    pub tool_description_bytes_max: usize,
    /// JSON text of one schema: a tool's parameters, or the format of an answer.
    pub schema_bytes_max: usize,
    /// Objects and arrays inside one another.
    pub schema_depth_max: usize,
    /// Stop texts of one request.
    pub stops_max: usize,
    /// In one stop text: an answer is held back by as much while it may still match.
    pub stop_bytes_max: usize,
    /// Tokens with a bias in one request.
    pub logit_bias_max: usize,
    /// Texts to embed in one request.
    pub embedding_inputs_max: usize,
    /// Sealed requests that are remembered at once, so that none runs twice: those of the last
    /// minutes. One more is refused.
    pub sealed_requests_max: usize,
}

impl Limits {
    /// Wide enough for every client known, and for an agent with hundreds of tools.
    pub const STANDARD: Self = Self {
        choices_in_flight: 2,
        messages_max: 10_000,
        tools_max: 512,
        tool_name_bytes_max: 64,
        tool_description_bytes_max: 64 * 1024,
        schema_bytes_max: 256 * 1024,
        schema_depth_max: 32,
        stops_max: 4,
        stop_bytes_max: 1024,
        logit_bias_max: 1024,
        embedding_inputs_max: 2048,
        sealed_requests_max: 250_000,
    };
}

impl Limits {
    /// A list that is too long.
    pub(super) fn check_count(
        &self,
        param: &str,
        count: usize,
        count_max: usize,
    ) -> Result<(), InvalidRequest> {
        if count <= count_max {
            return Ok(());
        }
        let message = format!("Invalid '{param}': expected at most {count_max} elements.");
        Err(InvalidRequest::param("array_above_max_length", param, message))
    }

    /// A function's name reaches templates and grammars, so it has plain characters only.
    pub(super) fn check_tool_name(&self, param: &str, name: &str) -> Result<(), InvalidRequest> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let most = self.tool_name_bytes_max;
        if (1..=most).contains(&name.len()) && name.bytes().all(is_plain) {
            return Ok(());
        }
        let message = format!(
            "Invalid '{param}': expected 1 to {most} letters, digits, underscores and dashes."
        );
        Err(InvalidRequest::param("invalid_value", param, message))
    }

    pub(super) fn check_tool_description(
        &self,
        param: &str,
        description: &str,
    ) -> Result<(), InvalidRequest> {
        let most = self.tool_description_bytes_max;
        if description.len() <= most {
            return Ok(());
        }
        let message = format!("Invalid '{param}': expected at most {most} bytes.");
        Err(InvalidRequest::param("string_above_max_length", param, message))
    }

    pub(super) fn check_stops(&self, stops: &[String]) -> Result<(), InvalidRequest> {
        let most = self.stops_max;
        if stops.len() > most {
            let message = format!("Invalid 'stop': at most {most} sequences are allowed.");
            return Err(InvalidRequest::param("invalid_value", "stop", message));
        }
        let most = self.stop_bytes_max;
        if stops.iter().all(|stop| stop.len() <= most) {
            return Ok(());
        }
        let message = format!("Invalid 'stop': a sequence has at most {most} bytes.");
        Err(InvalidRequest::param("string_above_max_length", "stop", message))
    }

    pub(super) fn check_bias(&self, bias: &[(u32, f32)]) -> Result<(), InvalidRequest> {
        let most = self.logit_bias_max;
        if bias.len() <= most {
            return Ok(());
        }
        let message = format!("Invalid 'logit_bias': at most {most} tokens are allowed.");
        Err(InvalidRequest::param("invalid_value", "logit_bias", message))
    }

    /// Bounds what a schema costs whoever turns it into a grammar.
    pub(super) fn check_schema(&self, param: &str, schema: &Value) -> Result<(), InvalidRequest> {
        let depth_max = self.schema_depth_max;
        if !is_within(schema, depth_max) {
            let message =
                format!("Invalid '{param}': expected a schema of at most {depth_max} levels.");
            return Err(InvalidRequest::param("schema_too_deep", param, message));
        }
        let bytes_max = self.schema_bytes_max;
        let mut room = Room(bytes_max);
        if serde_json::to_writer(&mut room, schema).is_err() {
            let message =
                format!("Invalid '{param}': expected a schema of at most {bytes_max} bytes.");
            return Err(InvalidRequest::param("schema_too_large", param, message));
        }
        Ok(())
    }
}

/// Whether a value has at most so many objects and arrays inside one another. The parser bounds
/// the depth of the recursion.
fn is_within(value: &Value, depth: usize) -> bool {
    let inside = |value: &Value| depth > 0 && is_within(value, depth - 1);
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(inside),
        Value::Object(map) => depth > 0 && map.values().all(inside),
        _ => true,
    }
}

/// Counts bytes down, and fails where none are left: nothing is written anywhere.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::WriteZero)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
