use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use futures_util::StreamExt;
use http::StatusCode;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::edge::body::{BodyLimits, read};
use crate::edge::problem::Problem;

fn site(requests_in_flight: usize) -> Router {
    let limits = BodyLimits { bytes_max: 10, timeout: Duration::from_secs(5) };
    let routes = Router::new()
        .route("/v1/boom", get(boom))
        .route("/v1/open", get(|| async { "held" }))
        .route(
            "/v1/echo",
            post(async move |request: Request| read(request, limits).await.map_err(Problem::from)),
        );
    let admission = Arc::new(Admission::new(requests_in_flight));
    wrap(routes, &EdgeParts { admission, drain_timeout: Duration::from_secs(5) })
}

async fn boom() -> &'static str {
    panic!("on purpose")
}

fn request(method: &str, path: &str, body: Body) -> Request {
    Request::builder().method(method).uri(path).body(body).unwrap()
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let answer = site(1).oneshot(request("GET", "/v1/boom", Body::empty())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.headers().contains_key("x-request-id"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "internal_error");
    assert!(!body.to_string().contains("on purpose"));
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_ends() {
    let site = site(1);
    let ask = || site.clone().oneshot(request("GET", "/v1/open", Body::empty()));
    let first = ask().await.unwrap();
    assert_eq!(ask().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_a_refused_request_still_sends_is_read_first() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
    let pieces = futures_util::stream::iter(0..100).map(move |_| {
        let _is_kept_until_the_stream_is_dropped = &sender;
        Ok::<_, std::io::Error>(vec![b'x'; 1000])
    });
    let body = Body::from_stream(pieces.chain(futures_util::stream::iter([Ok(b"end".to_vec())])));
    let answer = site(1).oneshot(request("POST", "/v1/echo", body)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!answer.headers().contains_key("connection"));
    assert!(receiver.recv().await.is_none(), "the body is still held");
}

#[tokio::test]
async fn a_sender_without_end_is_cut_off() {
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let endless = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    let body = Body::from_stream(endless);
    let answer = site(1).oneshot(request("POST", "/v1/echo", body)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.headers()["connection"], "close");
}
