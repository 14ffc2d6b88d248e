//! Attribute names of OpenTelemetry's semantic conventions that our spans use.
//!
//! Content attributes (`gen_ai.input.messages` and the like) are left out on purpose: no
//! prompt, completion, key or address of a peer is ever recorded.
//! Source: opentelemetry.io, semantic conventions for GenAI and HTTP spans.

pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
pub const GEN_AI_PROVIDER_NAME: &str = "gen_ai.provider.name";
pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
pub const GEN_AI_REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub const GEN_AI_RESPONSE_ID: &str = "gen_ai.response.id";
pub const GEN_AI_RESPONSE_MODEL: &str = "gen_ai.response.model";
pub const GEN_AI_RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub const GEN_AI_USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub const GEN_AI_USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub const HTTP_ROUTE: &str = "http.route";
pub const ERROR_TYPE: &str = "error.type";

/// The operation name of a chat completion.
pub const OPERATION_CHAT: &str = "chat";
/// What we call ourselves in `gen_ai.provider.name`.
pub const PROVIDER: &str = "cocoon";
