//! An engine by URL: any server that speaks the OpenAI API (vLLM, SGLang, llama.cpp, …).
//!
//! The body is made from the job ([`request`]); text always streams and is read into the same
//! events that the other engines give ([`answer`]), and so are embeddings ([`vectors`]): dialects
//! end here. Cancelling is closing the connection.
//!
//! Counts are the server's. It is asked to give them with every piece; one that does says the
//! prompt's length before the first token, and an answer that is left early is billed for its
//! prompt and for the tokens counted so far. Of a server that counts only at the end, an answer
//! that is left early is billed a lower bound: **nothing for the prompt**, and one completion
//! token for each piece of text that arrived (such servers send one token a piece, or more).
//!
//! Invariants: a stream that ends without a finish reason is a crash, never an answer; no count
//! exceeds the job's limit; no text of the server's errors is passed on.

mod answer;
mod request;
mod vectors;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cocoon_openai_wire::sse;
use cocoon_primitives::ModelName;
use cocoon_runtime::Lifecycle;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::answer::Answer;
use self::request::{Dialect, EMBED_BATCH, Request};
use self::vectors::Vectors;
use super::admission::{Admission, Place};
use super::config::OpenaiUpstreamConfig;
use super::manifest::{EngineSettings, Manifest};
use super::{
    Engine, EngineError, EngineEvent, EngineLoad, EngineStartError, FinishReason, Generation,
    Input, Job, ModelCard, ModelManifest, Usage, check_job,
};

/// One event of the server's stream; a token with twenty alternatives is far below it.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Told to a client when the server sheds it without saying for how long.
const RETRY_AFTER_MS: u64 = 1_000;

/// The vectors of [`EMBED_BATCH`] texts, written as numbers.
const VECTORS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Events of a job beyond two for each token, or one for each text.
const EVENTS_MARGIN: usize = 64;

pub(super) struct OpenaiUpstream {
    card: ModelCard,
    admission: Admission,
    lifecycle: Lifecycle,
    server: Arc<Server>,
}

/// The server, and how to talk to it.
struct Server {
    client: Client,
    /// Ends without a slash.
    base_url: String,
    authorization: Option<HeaderValue>,
    model: String,
    continuous_usage: bool,
    first_byte: Duration,
    idle: Duration,
    /// Whether the last attempt to reach it did.
    reachable: AtomicBool,
}

/// As the policy names it.
const KIND: &str = "openai-upstream";

/// The weights are out of sight: the manifest says no more than where the text comes from.
pub(super) fn manifest(config: &OpenaiUpstreamConfig) -> Result<ModelManifest, EngineStartError> {
    let name = match &config.name {
        Some(name) => name.clone(),
        None => config.model.parse::<ModelName>().map_err(|_| {
            let problem = "`model` is no public name; set `name`";
            EngineStartError::Config(problem.to_owned())
        })?,
    };
    let settings = EngineSettings::of(KIND)
        .with("base_url", config.base_url.as_str())
        .with("context_length", config.context_length)
        .with("model", config.model.as_str());
    let manifest = Manifest::without_files(&settings);
    Ok(ModelManifest { name, engine: KIND, manifest })
}

impl OpenaiUpstream {
    pub(super) async fn new(
        config: &OpenaiUpstreamConfig,
        lifecycle: &Lifecycle,
    ) -> Result<Self, EngineStartError> {
        let ModelManifest { name, manifest, .. } = manifest(config)?;
        // Another part of the process may have chosen the provider already; it is the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let server = Server {
            client,
            base_url: config.base_url.trim_end_matches('/').to_owned(),
            authorization: authorization(config).await?,
            model: config.model.clone(),
            continuous_usage: config.continuous_usage,
            first_byte: Duration::from_millis(config.first_byte_timeout_ms),
            idle: Duration::from_millis(config.idle_timeout_ms),
            reachable: AtomicBool::new(true),
        };
        let card = ModelCard {
            name,
            kind: config.model_kind,
            embedding_dimensions: None,
            context_length: config.context_length,
            // Only as it answers, if at all.
            counts_prompts: false,
            manifest_digest: manifest.digest(),
            engine: KIND,
            is_demo: false,
            owned_by: "upstream".to_owned(),
        };
        let patience = Duration::from_millis(config.queue_timeout_ms);
        Ok(Self {
            card,
            admission: Admission::new(config.permits, config.queue, patience),
            lifecycle: lifecycle.clone(),
            server: Arc::new(server),
        })
    }
}

async fn authorization(
    config: &OpenaiUpstreamConfig,
) -> Result<Option<HeaderValue>, EngineStartError> {
    let Some(path) = &config.api_key_file else { return Ok(None) };
    let text = tokio::fs::read_to_string(path).await.map_err(|error| {
        EngineStartError::Config(format!("api_key_file {}: {error}", path.display()))
    })?;
    let key = text.lines().next().unwrap_or_default().trim();
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        EngineStartError::Config(format!("api_key_file {} holds no key", path.display()))
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Engine for OpenaiUpstream {
    fn models(&self) -> Vec<ModelCard> {
        vec![self.card.clone()]
    }

    fn generate(&self, job: Job) -> Result<Generation, EngineError> {
        check_job(&job)?;
        if self.lifecycle.is_draining() {
            return Err(EngineError::Unavailable);
        }
        let dialect = Dialect {
            model: &self.server.model,
            kind: self.card.kind,
            is_open: self.server.continuous_usage,
        };
        let request = Request::new(&job, &dialect)?;
        if job.max_tokens == 0 && !matches!(job.input, Input::Embed(_)) {
            return Ok(unquestioned());
        }
        let place = self.admission.enter()?;
        let events_max = if let Input::Embed(inputs) = &job.input {
            inputs.len()
        } else {
            let tokens = usize::try_from(job.max_tokens.min(self.card.context_length));
            tokens.unwrap_or(usize::MAX).saturating_mul(2)
        };
        let (sender, events) = mpsc::channel(events_max.saturating_add(EVENTS_MARGIN));
        let answer = Answer::new(&job);
        let server = Arc::clone(&self.server);
        self.lifecycle.spawn("engine.upstream", work(server, place, request, answer, sender));
        Ok(Generation { events })
    }

    fn load(&self) -> EngineLoad {
        self.admission.load()
    }

    fn is_ready(&self) -> bool {
        !self.lifecycle.is_draining() && self.server.reachable.load(Ordering::Relaxed)
    }
}

/// Whether a prompt would be taken only the server can say, and only by answering it.
fn unquestioned() -> Generation {
    let (sender, events) = mpsc::channel(2);
    let finish = FinishReason::Length;
    let answer = [
        EngineEvent::Started { prompt_tokens: None },
        EngineEvent::Finished { finish, usage: Usage::default() },
    ];
    for event in answer {
        sender.try_send(event).expect("the channel has room for both");
    }
    Generation { events }
}

/// One job. Dropping its request closes the connection, which is how the server learns of a
/// client that left.
async fn work(
    server: Arc<Server>,
    place: Place,
    request: Request,
    answer: Answer,
    events: mpsc::Sender<EngineEvent>,
) {
    let Some(_turn) = place.turn(&events).await else { return };
    tokio::select! {
        biased;
        () = events.closed() => {}
        outcome = server.perform(request, answer, &events) => if let Err(error) = outcome {
            // A reader that left has no use for the end.
            drop(events.send(EngineEvent::Failed(error)).await);
        },
    }
}

impl Server {
    async fn perform(
        &self,
        request: Request,
        answer: Answer,
        events: &mpsc::Sender<EngineEvent>,
    ) -> Result<(), EngineError> {
        match request {
            Request::Stream { path, body } => self.relay(path, body, answer, events).await,
            Request::Embed { texts, bodies } => self.embed(texts, bodies, events).await,
        }
    }

    async fn relay(
        &self,
        path: &str,
        body: Bytes,
        mut answer: Answer,
        events: &mpsc::Sender<EngineEvent>,
    ) -> Result<(), EngineError> {
        let mut response = self.ask(path, body).await?;
        let mut decoder = sse::Decoder::new(EVENT_BYTES_MAX);
        loop {
            let piece = timeout(self.idle, response.chunk()).await;
            let piece = piece.map_err(|_| EngineError::Timeout)?;
            let Some(piece) = piece.map_err(|_| EngineError::Crashed)? else {
                return pass(answer.end()?, events).await;
            };
            decoder.push(&piece);
            while let Some(event) = decoder.next_event().map_err(|_| EngineError::Crashed)? {
                if event.is_done() {
                    return pass(answer.end()?, events).await;
                }
                pass(answer.chunk(&event.data)?, events).await?;
                if answer.is_over_limit() {
                    return pass(answer.end_at_limit(), events).await;
                }
            }
        }
    }

    async fn embed(
        &self,
        texts: usize,
        bodies: Vec<Bytes>,
        events: &mpsc::Sender<EngineEvent>,
    ) -> Result<(), EngineError> {
        let mut usage = Usage::default();
        let mut index = 0;
        let mut dimensions = None;
        for (batch, body) in bodies.into_iter().enumerate() {
            let inputs = (texts - batch * EMBED_BATCH).min(EMBED_BATCH);
            let response = self.ask("embeddings", body).await?;
            let read = self.read(response).await?;
            let vectors = Vectors::read(&read, inputs).ok_or(EngineError::Crashed)?;
            usage.prompt = usage.prompt.saturating_add(vectors.prompt_tokens);
            let mut passed = Vec::new();
            if batch == 0 {
                passed.push(EngineEvent::Started { prompt_tokens: None });
            }
            for vector in vectors.vectors {
                if *dimensions.get_or_insert(vector.len()) != vector.len() {
                    return Err(EngineError::Crashed);
                }
                passed.push(EngineEvent::Embedding { index, vector });
                index += 1;
            }
            pass(passed, events).await?;
        }
        pass(vec![EngineEvent::Finished { finish: FinishReason::Stop, usage }], events).await
    }

    /// A whole body, bounded.
    async fn read(&self, mut response: Response) -> Result<Vec<u8>, EngineError> {
        let mut body = Vec::new();
        loop {
            let piece = timeout(self.idle, response.chunk()).await;
            let piece = piece.map_err(|_| EngineError::Timeout)?;
            let Some(piece) = piece.map_err(|_| EngineError::Crashed)? else { return Ok(body) };
            if body.len() + piece.len() > VECTORS_BYTES_MAX {
                return Err(EngineError::Crashed);
            }
            body.extend_from_slice(&piece);
        }
    }

    /// The response, once its head says that the server answers.
    async fn ask(&self, path: &str, body: Bytes) -> Result<Response, EngineError> {
        let mut request = self.client.post(format!("{}/{path}", self.base_url)).body(body);
        request = request.header(CONTENT_TYPE, "application/json");
        request = request.header(ACCEPT, "text/event-stream, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = match timeout(self.first_byte, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.reachable.store(!error.is_connect(), Ordering::Relaxed);
                tracing::warn!("the upstream server does not answer: {}", error.without_url());
                return Err(EngineError::Unavailable);
            }
            Err(_) => return Err(EngineError::Timeout),
        };
        self.reachable.store(true, Ordering::Relaxed);
        if response.status() == StatusCode::OK {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }
}

/// What a refusal means for the client. Only its status and its error's type and numbers count.
async fn refusal(response: Response) -> EngineError {
    let status = response.status();
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = after.and_then(|value| value.parse::<u64>().ok());
            let retry_after_ms = seconds.map_or(RETRY_AFTER_MS, |s| s.min(3600) * 1000);
            EngineError::Overloaded { retry_after_ms }
        }
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => answer::refused(response).await,
        status if status.is_server_error() => EngineError::Crashed,
        status => {
            tracing::error!(status = status.as_u16(), "the upstream server refuses the worker");
            EngineError::Unavailable
        }
    }
}

async fn pass(
    passed: Vec<EngineEvent>,
    events: &mpsc::Sender<EngineEvent>,
) -> Result<(), EngineError> {
    for event in passed {
        // A reader that left is noticed by the caller.
        drop(events.send(event).await);
    }
    Ok(())
}
