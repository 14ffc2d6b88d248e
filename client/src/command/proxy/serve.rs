//! The socket: bounded connections, HTTP/1, and a graceful end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use cocoon_runtime::Lifecycle;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt as _;

const CONNECTIONS_MAX: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the soft token fires. Connections that are still busy then are tasks of the same
/// lifecycle.
pub(super) async fn serve(listener: TcpListener, routes: Router, lifecycle: Lifecycle) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((stream, permit)) = accept(&listener, &permits, &lifecycle).await {
        let connection = connection(stream, permit, routes.clone(), lifecycle.clone());
        lifecycle.spawn("proxy connection", connection);
    }
}

/// The next connection; `None` once the soft token has fired.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    lifecycle: &Lifecycle,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(_) => sleep_until(Instant::now() + ACCEPT_PAUSE).await,
            }
        }
    };
    tokio::select! {
        // Draining first: a busy listener must not put it off.
        biased;
        () = lifecycle.soft().cancelled() => None,
        accepted = next => accepted,
    }
}

async fn connection(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    routes: Router,
    lifecycle: Lifecycle,
) {
    // A token must not wait for the next one to fill a segment.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = hyper::service::service_fn(move |request| answer(routes.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = lifecycle.soft().cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients go away in many ways; none of them is an event here.
    drop(ended);
}

async fn answer(routes: Router, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    routes.oneshot(request.map(Body::new)).await
}
