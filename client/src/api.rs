//! The gateway's own routes over HTTP: bounded, typed, errors in one shape.

use std::time::Duration;

use async_openai::error::{ApiError, OpenAIError, WrappedError};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two pieces of a chat answer; the gateway sends a keep-alive comment more often.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One gateway, as one principal.
pub(crate) struct Api {
    http: Client,
    base_url: Url,
    credential: Option<String>,
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) code: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) retry_after_s: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, error: ApiError) -> Self {
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            status: status.as_u16(),
            message: error.message,
            code: error.code,
            request_id: header("x-request-id"),
            retry_after_s: header(RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()),
        }
    }
}

impl Api {
    pub(crate) fn new(base_url: Url, credential: Option<String>) -> Result<Self, CliError> {
        credential.as_deref().map_or(Ok(()), check_credential)?;
        let http = builder(&base_url).timeout(CALL_TIMEOUT).build();
        let http = http.map_err(|error| unreachable(&base_url, error))?;
        Ok(Self { http, base_url, credential })
    }

    /// The same gateway as another principal; connections are shared.
    pub(crate) fn with_credential(&self, credential: &str) -> Result<Self, CliError> {
        check_credential(credential)?;
        let (http, base_url) = (self.http.clone(), self.base_url.clone());
        Ok(Self { http, base_url, credential: Some(credential.to_owned()) })
    }

    pub(crate) fn base_url(&self) -> &Url {
        &self.base_url
    }

    pub(crate) fn credential(&self) -> &str {
        self.credential.as_deref().unwrap_or_default()
    }

    /// A client for long answers: no limit on the whole, but on silence.
    pub(crate) fn streaming_client(&self) -> Result<Client, CliError> {
        let client = builder(&self.base_url).read_timeout(READ_TIMEOUT).build();
        client.map_err(|error| unreachable(&self.base_url, error))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, CliError> {
        parse(&self.send(self.request(Method::GET, path).query(query)).await?)
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, CliError> {
        parse(&self.send(self.request(Method::POST, path).json(body)).await?)
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        parse(&self.send(self.request(Method::DELETE, path)).await?)
    }

    /// `path` is made of constants and identifiers of ours, so it needs no escaping.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        match &self.credential {
            Some(credential) => request.bearer_auth(credential),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, CliError> {
        let response = request.send().await.map_err(|e| unreachable(&self.base_url, e))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.collect(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        let error = match serde_json::from_slice::<WrappedError>(&body) {
            Ok(wrapped) => wrapped.error,
            Err(_) => ApiError {
                message: status.canonical_reason().unwrap_or("no reason given").into(),
                ..ApiError::default()
            },
        };
        Err(CliError::Refused(Box::new(Refusal::new(status, &headers, error))))
    }

    async fn collect(&self, mut response: Response) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(piece) =
            response.chunk().await.map_err(|e| unreachable(&self.base_url, e))?
        {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(CliError::Answer("it is longer than 16 MiB".into()));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

fn check_credential(key: &str) -> Result<(), CliError> {
    match key.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(CliError::Argument {
            what: "the API key",
            reason: "it has characters that no key has".into(),
        }),
    }
}

/// Plain HTTP needs no roots of trust, and a machine may have none.
fn builder(base_url: &Url) -> ClientBuilder {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("cocoon/", env!("CARGO_PKG_VERSION")));
    if base_url.scheme() == "https" { builder } else { builder.tls_certs_only([]) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(body).map_err(|error| CliError::Answer(error.into()))
}

fn unreachable(base_url: &Url, source: reqwest::Error) -> CliError {
    CliError::Unreachable { base_url: base_url.to_string(), source: source.without_url() }
}

/// An error of async-openai in our words. `headers` are those of the answer, where one came.
pub(crate) fn from_openai(error: OpenAIError, headers: &HeaderMap, base_url: &Url) -> CliError {
    match error {
        OpenAIError::Reqwest(source) => unreachable(base_url, source),
        OpenAIError::ApiError(answer) => {
            // Bodies of 5xx answers arrive as text; ours are error objects all the same.
            let wrapped = serde_json::from_str::<WrappedError>(&answer.api_error.message);
            let error = wrapped.map_or(answer.api_error, |wrapped| wrapped.error);
            CliError::Refused(Box::new(Refusal::new(answer.status_code, headers, error)))
        }
        other => CliError::Answer(other.into()),
    }
}
