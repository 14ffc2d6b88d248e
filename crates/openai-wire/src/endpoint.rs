//! The four ways to ask a model for something, as clients and workers both name them.

/// An inference endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Responses,
    Completions,
    Embeddings,
}

impl Endpoint {
    pub const ALL: [Self; 4] =
        [Self::ChatCompletions, Self::Responses, Self::Completions, Self::Embeddings];

    /// Where it stands, on the public API and on the uplink.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The endpoint at exactly this path.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// The field that holds what the model is to read.
    pub const fn content_param(self) -> &'static str {
        match self {
            Self::ChatCompletions => "messages",
            Self::Responses | Self::Embeddings => "input",
            Self::Completions => "prompt",
        }
    }

    /// The field that bounds one choice's completion tokens; `None` where none is generated.
    pub const fn limit_param(self) -> Option<&'static str> {
        match self {
            Self::ChatCompletions => Some("max_completion_tokens"),
            Self::Responses => Some("max_output_tokens"),
            Self::Completions => Some("max_tokens"),
            Self::Embeddings => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_endpoint_and_nothing_else_does() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_path(endpoint.path()), Some(endpoint));
        }
        for path in ["", "/v1/chat", "/v1/responses/", "/v1/embeddings/x", "/V1/completions"] {
            assert_eq!(Endpoint::from_path(path), None, "{path}");
        }
    }
}
