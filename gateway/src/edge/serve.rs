//! Sockets: accept, TLS, HTTP/1 and HTTP/2, and a graceful end.
//!
//! Every connection is a tracked task. On the soft token a listener stops accepting, idle
//! connections close, busy ones finish what they have begun.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use cocoon_runtime::Lifecycle;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_STREAMS_MAX: u32 = 256;

/// The address of whoever opened the connection, without its port. For throttling only: it is
/// never recorded.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// One listener and what answers on it.
pub struct Site {
    /// Names the connections' tasks.
    pub name: &'static str,
    pub listener: TcpListener,
    pub routes: Router,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    pub connections_max: usize,
    pub header_timeout: Duration,
}

/// Serves until the soft token fires. Returns when the listener is closed; connections that are
/// still busy are tasks of the same lifecycle.
pub async fn serve(site: Site, lifecycle: Lifecycle) {
    let permits = Arc::new(Semaphore::new(site.connections_max.min(Semaphore::MAX_PERMITS)));
    let server = Server {
        http: Arc::new(http_builder(&lifecycle, site.name, site.header_timeout)),
        header_timeout: site.header_timeout,
        routes: site.routes,
        tls: site.tls.map(TlsAcceptor::from),
        lifecycle,
    };
    while let Some((stream, peer, permit)) = server.accept(&site.listener, &permits).await {
        let connection = server.clone().connection(stream, peer, permit);
        server.lifecycle.spawn(site.name, connection);
    }
}

type HttpBuilder = auto::Builder<TrackedExecutor>;

#[derive(Clone)]
struct Server {
    http: Arc<HttpBuilder>,
    header_timeout: Duration,
    routes: Router,
    tls: Option<TlsAcceptor>,
    lifecycle: Lifecycle,
}

impl Server {
    /// The next connection; `None` once the soft token has fired. A full gateway leaves the rest
    /// in the listener's backlog, which the operating system bounds.
    async fn accept(
        &self,
        listener: &TcpListener,
        permits: &Arc<Semaphore>,
    ) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let next = async {
            let permit = Arc::clone(permits).acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => return Some((stream, peer.ip(), permit)),
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        sleep_until(Instant::now() + ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            // Draining first: a busy listener must not put it off.
            biased;
            () = self.lifecycle.soft().cancelled() => None,
            accepted = next => accepted,
        }
    }

    async fn connection(self, stream: TcpStream, peer: IpAddr, _permit: OwnedSemaphorePermit) {
        // A token must not wait for the next one to fill a segment.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match self.tls.clone() {
            None => self.http(stream, peer).await,
            Some(tls) => match timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.http(stream, peer).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn http<S>(self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let has_asked = Arc::new(AtomicBool::new(false));
        let (routes, asking) = (self.routes, Arc::clone(&has_asked));
        let service = hyper::service::service_fn(move |request| {
            asking.store(true, Ordering::Relaxed);
            answer(routes.clone(), request, Peer(peer))
        });
        let mut connection =
            Box::pin(self.http.serve_connection(TokioIo::new(stream), service).into_owned());
        let mut first_request = std::pin::pin!(sleep_until(Instant::now() + self.header_timeout));
        let mut is_timed = true;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = self.lifecycle.soft().cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    break connection.await;
                }
                // While it finds out which protocol is spoken, hyper itself waits for ever.
                () = first_request.as_mut(), if is_timed => {
                    is_timed = false;
                    if !has_asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        };
        if let Err(error) = ended {
            // Clients go away in many ways; none of them is an event here.
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

async fn answer(
    routes: Router,
    request: hyper::Request<Incoming>,
    peer: Peer,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    routes.oneshot(request).await
}

fn http_builder(
    lifecycle: &Lifecycle,
    name: &'static str,
    header_timeout: Duration,
) -> HttpBuilder {
    let mut builder = auto::Builder::new(TrackedExecutor { lifecycle: lifecycle.clone(), name });
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .max_concurrent_streams(HTTP2_STREAMS_MAX);
    builder
}

/// Runs the streams of an HTTP/2 connection as tracked tasks.
#[derive(Debug, Clone)]
struct TrackedExecutor {
    lifecycle: Lifecycle,
    name: &'static str,
}

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.lifecycle.spawn(self.name, future);
    }
}
