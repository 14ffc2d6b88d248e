//! Asking: async-openai drives the request, a service of ours below it sees the headers.
//!
//! Nothing is retried: a chat that was sent may have been charged.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{OpenAIError, WrappedError};
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::{
    CompletionUsage, CreateChatCompletionRequest, CreateChatCompletionStreamResponse, FinishReason,
};
use futures_util::StreamExt as _;
use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::api::{Api, from_openai};
use crate::error::CliError;
use crate::output;

/// An answer that came to its end.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) model: String,
    pub(super) finish: Option<FinishReason>,
    pub(super) usage: Option<CompletionUsage>,
    pub(super) headers: HeaderMap,
}

pub(super) struct Asker {
    client: Client<OpenAIConfig>,
    headers: Arc<Mutex<HeaderMap>>,
    base_url: Url,
}

impl Asker {
    pub(super) fn new(api: &Api) -> Result<Self, CliError> {
        let http = api.streaming_client()?;
        let headers = Arc::new(Mutex::new(HeaderMap::new()));
        // Every field is set, so that nothing comes from the library's own environment variables.
        let config = OpenAIConfig::new()
            .with_api_base(api.base_url().as_str())
            .with_api_key(api.credential())
            .with_org_id("")
            .with_project_id("");
        let (sender, seen) = (http.clone(), Arc::clone(&headers));
        let service = tower::service_fn(move |request: HttpRequestFactory| {
            let (sender, seen) = (sender.clone(), Arc::clone(&seen));
            async move {
                let request = request.build().await?;
                let response = sender.execute(request).await.map_err(OpenAIError::Reqwest)?;
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = response.headers().clone();
                Ok::<_, OpenAIError>(response)
            }
        });
        let client = Client::build(http, config).with_http_service(service);
        Ok(Self { client, headers, base_url: api.base_url().clone() })
    }

    /// The answer in one piece.
    pub(super) async fn whole(
        &self,
        request: CreateChatCompletionRequest,
    ) -> Result<Answer, CliError> {
        let completion = self.client.chat().create(request).await;
        let completion = completion.map_err(|error| self.failure(error))?;
        let choice = completion.choices.into_iter().next();
        let finish = choice.as_ref().and_then(|choice| choice.finish_reason);
        Ok(Answer {
            text: choice.and_then(|choice| choice.message.content).unwrap_or_default(),
            model: completion.model,
            finish,
            usage: completion.usage,
            headers: self.headers(),
        })
    }

    /// The answer as it is made, printed to standard output piece by piece.
    pub(super) async fn streamed(
        &self,
        request: CreateChatCompletionRequest,
    ) -> Result<Answer, CliError> {
        let stream = self.client.chat().create_stream(request).await;
        let mut stream = stream.map_err(|error| self.failure(error))?;
        let mut answer = Answer {
            text: String::new(),
            model: String::new(),
            finish: None,
            usage: None,
            headers: self.headers(),
        };
        let mut out = std::io::stdout();
        let mut failure = None;
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => {
                    let piece = answer.take(chunk);
                    write!(out, "{}", output::plain(&piece))?;
                    out.flush()?;
                }
                Err(error) => {
                    failure = Some(reason(&error));
                    break;
                }
            }
        }
        if !answer.text.ends_with('\n') && !answer.text.is_empty() {
            writeln!(out)?;
        }
        match (failure, answer.finish) {
            (Some(reason), _) => Err(CliError::BrokenOff { reason }),
            (None, None) => Err(CliError::BrokenOff { reason: "the connection was closed".into() }),
            (None, Some(_)) => Ok(answer),
        }
    }

    fn headers(&self) -> HeaderMap {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failure(&self, error: OpenAIError) -> CliError {
        from_openai(error, &self.headers(), &self.base_url)
    }
}

impl Answer {
    /// Adds a chunk and returns its text.
    fn take(&mut self, chunk: CreateChatCompletionStreamResponse) -> String {
        self.model = chunk.model;
        self.usage = chunk.usage.or(self.usage.take());
        let Some(choice) = chunk.choices.into_iter().next() else {
            return String::new();
        };
        self.finish = choice.finish_reason.or(self.finish);
        let piece = choice.delta.content.unwrap_or_default();
        self.text.push_str(&piece);
        piece
    }
}

/// Why a stream broke off. A gateway says so in an error event, which is no chunk.
fn reason(error: &OpenAIError) -> String {
    match error {
        OpenAIError::JSONDeserialize(_, event) => serde_json::from_str::<WrappedError>(event)
            .map_or_else(|_| "an event could not be read".into(), |event| event.error.message),
        OpenAIError::StreamError(_) => "the connection was lost".into(),
        other => other.to_string(),
    }
}
