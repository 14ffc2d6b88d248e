//! Every bound of the dispatcher in one place.

use std::time::Duration;

use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::peek::{CHOICES_MAX, INPUTS_MAX, Peek};

/// Bounds of one dispatcher. [`DispatchLimits::STANDARD`] suits one gateway on one machine.
#[derive(Debug, Clone, Copy)]
pub struct DispatchLimits {
    /// Requests between their reservation and the start of their settlement; one more is shed.
    pub requests_open_max: usize,
    /// Workers asked for one request.
    pub attempts_max: u32,
    /// Until a worker's first frame, a heartbeat included.
    pub first_frame_timeout: Duration,
    /// From the reservation to the first token, however many heartbeats and workers there are.
    pub first_token_timeout: Duration,
    /// Between two frames of a worker, heartbeats included.
    pub silence_max: Duration,
    /// From the reservation to the last byte.
    pub request_timeout: Duration,
    /// How long a stream's status is held back, and the pause between keep-alive comments.
    pub keep_alive: Duration,
    /// How long a client may leave a stream unread.
    pub client_stall_max: Duration,
    /// How long a cancelled request waits for its worker's receipt.
    pub receipt_wait: Duration,
    /// Messages of a chat, or items of a response's input.
    pub items_max: u32,
    pub tools_max: u32,
    /// Prompts of a completion, inputs of an embeddings request.
    pub prompts_max: u32,
    /// All choices that one request generates.
    pub choices_max: u32,
    /// Completion tokens of one choice, whatever the model allows.
    pub completion_tokens_max: u64,
    /// Prompt tokens that a chat template may add around a request's own text.
    pub template_allowance_tokens: u64,
    /// Bytes of an answer that is not streamed.
    pub whole_bytes_max: usize,
    /// The gateway's part of a charge, in basis points.
    pub commission_bp: u16,
}

impl DispatchLimits {
    pub const STANDARD: Self = Self {
        requests_open_max: 4096,
        attempts_max: 3,
        first_frame_timeout: Duration::from_secs(60),
        first_token_timeout: Duration::from_secs(300),
        silence_max: Duration::from_secs(30),
        request_timeout: Duration::from_secs(600),
        keep_alive: Duration::from_secs(15),
        client_stall_max: Duration::from_secs(120),
        receipt_wait: Duration::from_secs(10),
        items_max: 16_384,
        tools_max: 1024,
        prompts_max: INPUTS_MAX,
        choices_max: CHOICES_MAX,
        completion_tokens_max: 32_768,
        template_allowance_tokens: 1024,
        whole_bytes_max: 32 << 20,
        commission_bp: 500,
    };

    /// Refuses a request that asks for more than there is.
    pub(crate) fn check(&self, endpoint: Endpoint, peek: &Peek<'_>) -> Result<(), InvalidRequest> {
        let content = endpoint.content_param();
        // Where there is one prompt, only `n` makes choices.
        let choices = if peek.prompts > 1 { content } else { "n" };
        let tools_alone = peek.tools.saturating_sub(peek.functions);
        let tools = if tools_alone > self.tools_max { "tools" } else { "functions" };
        for (param, asked, max) in [
            (content, peek.items, self.items_max),
            (tools, peek.tools, self.tools_max),
            (content, peek.prompts, self.prompts_max),
            (choices, peek.choices, self.choices_max),
        ] {
            if asked > max {
                let message = match param {
                    "n" => format!("Invalid 'n': this gateway takes at most {max}."),
                    _ => format!("Invalid '{param}': this gateway takes at most {max} elements."),
                };
                let code =
                    if param == "n" { "integer_out_of_range" } else { "array_above_max_length" };
                return Err(InvalidRequest::param(code, param, message));
            }
        }
        Ok(())
    }

    /// How long a reservation lives: every way to settle it is over before it expires.
    pub(crate) fn reservation_lifetime(&self) -> Duration {
        /// For the settlement itself, on a store under load.
        const SETTLE: Duration = Duration::from_secs(30);
        self.request_timeout + self.receipt_wait + SETTLE
    }
}

#[cfg(test)]
mod tests {
    use cocoon_openai_wire::peek;

    use super::*;

    /// At each bound a request passes, and one above it is refused with its parameter named.
    #[test]
    fn one_above_a_bound_is_refused() {
        use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
        let limits = DispatchLimits {
            items_max: 2,
            tools_max: 1,
            prompts_max: 2,
            choices_max: 3,
            ..DispatchLimits::STANDARD
        };
        let (array, integer) = ("array_above_max_length", "integer_out_of_range");
        for (endpoint, at, above, param, code) in [
            (ChatCompletions, r#""messages":[0,0]"#, r#""messages":[0,0,0]"#, "messages", array),
            (Responses, r#""input":[0,0]"#, r#""input":[0,0,0]"#, "input", array),
            (
                ChatCompletions,
                r#""messages":[0],"tools":[0]"#,
                r#""messages":[0],"tools":[0,0]"#,
                "tools",
                array,
            ),
            (
                ChatCompletions,
                r#""messages":[0],"functions":[0]"#,
                r#""messages":[0],"functions":[0,0]"#,
                "functions",
                array,
            ),
            (
                ChatCompletions,
                r#""messages":[0],"tools":[0],"functions":[]"#,
                r#""messages":[0],"tools":[0],"functions":[0]"#,
                "functions",
                array,
            ),
            (Responses, r#""tools":[0]"#, r#""tools":[0,0]"#, "tools", array),
            (Embeddings, r#""input":["",""]"#, r#""input":["","",""]"#, "input", array),
            (Embeddings, r#""input":[1,2,3,4]"#, r#""input":[[1],[2],[3]]"#, "input", array),
            (Completions, r#""prompt":["",""]"#, r#""prompt":["","",""]"#, "prompt", array),
            (Completions, r#""prompt":"","n":3"#, r#""prompt":"","n":4"#, "n", integer),
            (Completions, r#""prompt":["",""]"#, r#""prompt":["",""],"n":2"#, "prompt", array),
            (ChatCompletions, r#""messages":[0],"n":3"#, r#""messages":[0],"n":4"#, "n", integer),
        ] {
            let check = |fields: &str| {
                let body = format!(r#"{{"model":"m",{fields}}}"#);
                limits.check(endpoint, &peek::read(endpoint, body.as_bytes()).unwrap())
            };
            assert_eq!(check(at), Ok(()), "{at}");
            let refused = check(above).unwrap_err();
            assert_eq!((refused.param.as_deref(), refused.code), (Some(param), code), "{above}");
        }
    }
}
