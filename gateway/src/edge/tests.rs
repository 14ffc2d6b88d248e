use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use cocoon_primitives::{RequestId, Timestamp};
use futures_util::StreamExt;
use http::StatusCode;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::edge::body::{BodyBudget, BodyError, BodyLimits, read, read_claimed};
use crate::edge::problem::Problem;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn site(requests_in_flight: usize) -> Router {
    let limits = BodyLimits { bytes_max: 10, timeout: Duration::from_secs(5) };
    let routes = Router::new()
        .route("/v1/boom", get(boom))
        .route("/v1/open", get(|| async { "held" }))
        .route(
            "/v1/echo",
            post(async move |request: Request| read(request, limits).await.map_err(Problem::from)),
        )
        .route("/v1/refuse", post(async || Problem::KeyRequired));
    let admission = Arc::new(Admission::new(requests_in_flight));
    let clock = Arc::new(cocoon_primitives::MockClock::at(NOW));
    wrap(routes, &EdgeParts { admission, drain_timeout: Duration::from_secs(5), clock })
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

/// What the store writes lies together, and nobody guesses another's id.
#[tokio::test]
async fn request_ids_begin_with_the_time_and_go_on_at_random() {
    let site = site(1);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = site.clone().oneshot(request("GET", "/v1/open", Body::empty())).await.unwrap();
        let id: RequestId = answer.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
        let bytes = *id.as_bytes();
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&bytes[..6]);
        assert_eq!(u64::from_be_bytes(ms), NOW.as_millis());
        ids.push(bytes[6..].to_vec());
        assert_eq!(answer.headers()["openai-version"], "2020-10-01");
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

/// A body that never ends and of which nothing comes.
fn stuck() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

#[tokio::test]
async fn a_refusal_holds_no_permit_while_its_body_is_drained() {
    let site = site(1);
    let refused = site.clone().oneshot(request("POST", "/v1/refuse", stuck()));
    let mut refused = Box::pin(refused);
    assert!(futures_util::poll!(&mut refused).is_pending(), "nothing is drained");
    let other = site.oneshot(request("GET", "/v1/open", Body::empty())).await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn so_many_bodies_are_drained_at_once_and_the_next_is_cut_off() {
    let site = site(1);
    let refuse = || Box::pin(site.clone().oneshot(request("POST", "/v1/refuse", stuck())));
    let mut drained = Vec::new();
    for _ in 0..unread::DRAINS_MAX {
        let mut one = refuse();
        assert!(futures_util::poll!(&mut one).is_pending());
        drained.push(one);
    }
    let answer = refuse().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(answer.headers()["connection"], "close");
    drop(drained);
    assert!(futures_util::poll!(&mut refuse()).is_pending(), "its place is not free again");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_did_not_come_in_time_is_not_waited_for_again() {
    let started = tokio::time::Instant::now();
    let answer = site(1).oneshot(request("POST", "/v1/echo", stuck())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn bodies_have_room_for_so_many_bytes_together() {
    let limits = BodyLimits { bytes_max: 1 << 20, timeout: Duration::from_secs(5) };
    let budget = BodyBudget::new(300 << 10);
    let ask = |kib: usize| {
        let pieces = (0..kib).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 10]));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        read_claimed(request("POST", "/", body), limits, &budget)
    };
    let first = ask(120).await.unwrap();
    let second = ask(120).await.unwrap();
    assert!(matches!(ask(100).await, Err(BodyError::NoRoom)));
    let clone = first.clone();
    drop(first);
    assert!(matches!(ask(100).await, Err(BodyError::NoRoom)), "a handle is still there");
    drop(clone);
    assert_eq!(ask(100).await.unwrap().len(), 100 << 10);
    assert_eq!(second.len(), 120 << 10);
    drop(second);
    assert!(matches!(ask(400).await, Err(BodyError::NoRoom)), "more than the budget");
    assert!(ask(256).await.is_ok(), "what was refused gave nothing back");
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
