//! Names of headers, as they stand between client, gateway and worker.

/// `1`: the body is sealed.
pub const E2EE: &str = "cocoon-e2ee";
/// The request's id, chosen by the client.
pub const REQUEST_ID: &str = "cocoon-request-id";
/// The model's name.
pub const MODEL: &str = "cocoon-model";
/// `1` where the answer is a stream, else `0`.
pub const STREAM: &str = "cocoon-stream";
/// Prompt tokens at most, decimal `u64`.
pub const MAX_PROMPT_TOKENS: &str = "cocoon-max-prompt-tokens";
/// Completion tokens at most, over all choices, decimal `u32`.
pub const MAX_TOKENS: &str = "cocoon-max-tokens";
/// Nano-coins per million tokens at most: `prompt,cached,completion`, each decimal `u64`.
pub const MAX_PRICE: &str = "cocoon-max-price";
/// After this moment nobody takes the request: Unix time in milliseconds.
pub const NOT_AFTER: &str = "cocoon-not-after";
/// The commitment to the payer, 64 hexadecimal digits.
pub const PAY_COMMIT: &str = "cocoon-pay-commit";
/// Opens the commitment to the gateway, which never forwards it: 64 hexadecimal digits.
pub const PAY_BLIND: &str = "cocoon-pay-blind";
/// The body's key, wrapped for each worker.
pub const SEAL_KEYS: &str = "cocoon-seal-keys";
/// In an answer: `1` where its body is sealed.
pub const SEALED: &str = "cocoon-sealed";

/// The headers of a [`crate::Head`], in the order in which they are authenticated.
pub const HEAD: [&str; 8] =
    [REQUEST_ID, MODEL, STREAM, MAX_PROMPT_TOKENS, MAX_TOKENS, MAX_PRICE, NOT_AFTER, PAY_COMMIT];
