//! Names of paths and headers on the uplink.

/// Requests for a chat completion.
pub const CHAT_PATH: &str = "/v1/chat/completions";
/// Requests for a response, the newer shape of a chat completion.
pub const RESPONSES_PATH: &str = "/v1/responses";
/// Requests for a completion of plain text.
pub const COMPLETIONS_PATH: &str = "/v1/completions";
/// Requests for embeddings.
pub const EMBEDDINGS_PATH: &str = "/v1/embeddings";
/// The long request of a connection: acknowledgements out, load and receipts back.
pub const EVENTS_PATH: &str = "/events";
/// Renewal of a lease.
pub const RENEW_PATH: &str = "/renew";

/// The request's id, as `RequestId` prints.
pub const REQUEST_ID: &str = "cocoon-request-id";
/// Which try this is, counted from 0, decimal `u32`.
pub const ATTEMPT: &str = "cocoon-attempt";
/// Completion tokens at most, over all choices, decimal `u32`; 0 only for embeddings.
pub const MAX_TOKENS: &str = "cocoon-max-tokens";
/// What the request pays: base64url without padding of the terms' deterministic CBOR.
pub const TERMS: &str = "cocoon-terms";
/// In an answer: tokens of the prompt, decimal `u64`; absent where an engine cannot know.
pub const PROMPT_TOKENS: &str = "cocoon-prompt-tokens";
/// In an answer: types of the tools that were left out because no engine has them, comma-separated.
/// The gateway passes it on to the client.
pub const DROPPED_TOOLS: &str = "cocoon-dropped-tools";
/// In a refusal: `1` where another worker may do better.
pub const RETRYABLE: &str = "cocoon-retryable";

/// Bytes in a request's body at most.
pub const REQUEST_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes in a refusal's body at most.
pub const REFUSAL_BODY_BYTES_MAX: usize = 64 * 1024;
