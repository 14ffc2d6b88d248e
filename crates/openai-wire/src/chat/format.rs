//! The format that an answer must have, where a client names one.

use serde_json::{Map, Value};

use crate::fields::{Checked, Fields};

/// Bytes in the name of a schema.
const SCHEMA_NAME_BYTES_MAX: usize = 64;

/// What the text of an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema(NamedSchema),
}

/// A JSON schema with what the client says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSchema {
    pub name: Option<String>,
    /// In the client's order; `None` where the client gave none.
    pub schema: Option<Map<String, Value>>,
    pub strict: bool,
}

pub(super) fn response_format(fields: &mut Fields) -> Checked<ResponseFormat> {
    let Some(mut format) = fields.object("response_format")? else {
        return Ok(ResponseFormat::Text);
    };
    let Some(kind) = format.text("type")? else { return Err(format.missing("type")) };
    match kind.as_str() {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => match format.object("json_schema")? {
            Some(named) => self::named(named).map(ResponseFormat::JsonSchema),
            None => Err(format.missing("json_schema")),
        },
        _ => Err(format.invalid("type", "supported are text, json_object and json_schema")),
    }
}

fn named(mut fields: Fields) -> Checked<NamedSchema> {
    let name = fields.text("name")?;
    let is_name = |name: &String| {
        (1..=SCHEMA_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if !name.as_ref().is_none_or(is_name) {
        let why = "a name has 1 to 64 letters, digits, underscores and dashes";
        return Err(fields.invalid("name", why));
    }
    Ok(NamedSchema {
        name,
        schema: fields.object("schema")?.map(Fields::rest),
        strict: fields.boolean("strict")?.unwrap_or(false),
    })
}
