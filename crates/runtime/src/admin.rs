//! The admin listener of gateways and workers: `/metrics` and `/health`,
//! for the operator's own machines. One request a connection, few connections, short deadlines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::Lifecycle;

/// A scraper and a person or two.
const CONNECTIONS_MAX: usize = 16;
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// After a failed accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long histograms keep single samples where nobody scrapes.
const UPKEEP_PACE: Duration = Duration::from_secs(5);

/// Serves until the soft token fires.
pub fn serve(listener: TcpListener, metrics: PrometheusHandle, lifecycle: &Lifecycle) {
    keep_up(metrics.clone(), lifecycle);
    let tasks = lifecycle.clone();
    lifecycle.spawn("admin", async move {
        let accepting = accept(&listener, &metrics, &tasks);
        tokio::select! {
            () = tasks.soft().cancelled() => {}
            () = accepting => {}
        }
    });
}

/// Folds samples into their buckets, so that memory stays bounded without a scraper.
fn keep_up(metrics: PrometheusHandle, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn("metrics.upkeep", async move {
        let mut ticks = interval(UPKEEP_PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => metrics.run_upkeep(),
                () = soft.cancelled() => return,
            }
        }
    });
}

async fn accept(listener: &TcpListener, metrics: &PrometheusHandle, lifecycle: &Lifecycle) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = metrics.clone();
                lifecycle.spawn("admin.connection", async move {
                    let _permit = permit;
                    answer(stream, &metrics).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an admin connection was not accepted");
                sleep_until(Instant::now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, metrics: &PrometheusHandle) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
        Ok::<_, Infallible>(respond(request.method(), request.uri().path(), metrics))
    });
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed"),
        Err(_) => tracing::debug!("an admin connection took too long"),
    }
}

fn respond(method: &Method, path: &str, metrics: &PrometheusHandle) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (method, path) {
        (&Method::GET, "/metrics") => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render())
        }
        (&Method::GET, "/health") => {
            (StatusCode::OK, "application/json", r#"{"status":"ok"}"#.to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
