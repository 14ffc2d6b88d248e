//! An HTTP client that judges what it gets, and otherwise is the one that it wraps.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::Judge;

/// Judges every answer; see the module above.
#[derive(Debug, Clone)]
pub(crate) struct Client(reqwest::Client);

impl From<reqwest::Client> for Client {
    fn from(client: reqwest::Client) -> Self {
        Self(client)
    }
}

impl Client {
    pub(crate) fn get(&self, url: impl reqwest::IntoUrl) -> Request {
        self.request(Method::GET, url)
    }

    pub(crate) fn post(&self, url: impl reqwest::IntoUrl) -> Request {
        self.request(Method::POST, url)
    }

    pub(crate) fn request(&self, method: Method, url: impl reqwest::IntoUrl) -> Request {
        Request(self.0.request(method, url))
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request(reqwest::RequestBuilder);

impl Request {
    pub(crate) fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub(crate) fn basic_auth(self, user: &str, password: Option<&str>) -> Self {
        Self(self.0.basic_auth(user, password))
    }

    pub(crate) fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        Self(self.0.header(name, value))
    }

    pub(crate) fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.body(body))
    }

    pub(crate) async fn send(self) -> Result<Response, reqwest::Error> {
        let (client, request) = self.0.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let asked = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default().to_vec();
        let response = client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        let judge = Judge::new(&method, &path, &asked, status, headers);
        Ok(Response { inner: response, judge })
    }
}

/// An answer whose body is judged as it is read.
#[derive(Debug)]
pub(crate) struct Response {
    inner: reqwest::Response,
    judge: Judge,
}

/// Of a client that judges nothing.
impl From<reqwest::Response> for Response {
    fn from(inner: reqwest::Response) -> Self {
        Self { inner, judge: Judge::indifferent() }
    }
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The next piece; `None` at a clean end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, reqwest::Error> {
        let chunk = self.inner.chunk().await?;
        match &chunk {
            Some(bytes) => self.judge.feed(bytes),
            None => self.judge.end(),
        }
        Ok(chunk)
    }

    pub(crate) async fn bytes(mut self) -> Result<Bytes, reqwest::Error> {
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }

    pub(crate) async fn text(self) -> Result<String, reqwest::Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
