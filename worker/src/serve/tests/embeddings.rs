//! Embeddings.

use cocoon_attest::receipt::Finish;

use super::*;
use crate::engine::{EmbedInput, Input};

fn vector(index: u32, vector: &[f32]) -> EngineEvent {
    EngineEvent::Embedding { index, vector: vector.to_vec() }
}

fn embedding(more: &Value) -> Value {
    let mut body = json!({"model": "e", "input": ["one", "two"]});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

/// The head of an embeddings request: no tokens are generated.
fn nothing_to_generate() -> HeaderMap {
    let terms = Terms { max_completion_tokens: 0, ..terms() };
    let mut head = head();
    head.insert(headers::MAX_TOKENS, 0.into());
    let terms = URL_SAFE_NO_PAD.encode(terms.encode());
    head.insert(headers::TERMS, terms.parse().expect("ASCII"));
    head
}

async fn send(rig: &Rig, body: &Value) -> Response<UplinkBody> {
    let body = body.to_string().into();
    let request = request_to(headers::EMBEDDINGS_PATH, body, nothing_to_generate());
    rig.surface.handle(&rig.lease, request).await
}

async fn refused(rig: &Rig, body: &Value) -> (u16, Value) {
    let response = send(rig, body).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("an error object");
    (status, body["error"].clone())
}

fn two() -> Vec<EngineEvent> {
    vec![
        started(),
        vector(0, &[0.5, -1.0]),
        vector(1, &[1.0, 0.25]),
        finished(FinishReason::Stop, 0),
    ]
}

#[tokio::test]
async fn vectors_come_as_numbers_or_as_base64() {
    let base64 = |numbers: &[f32]| {
        let bytes: Vec<_> = numbers.iter().copied().flat_map(f32::to_le_bytes).collect();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let table = [
        (json!({}), json!([0.5, -1.0]), json!([1.0, 0.25])),
        (json!({"encoding_format": "float"}), json!([0.5, -1.0]), json!([1.0, 0.25])),
        (
            json!({"encoding_format": "base64", "dimensions": 2, "user": "u", "stream": true}),
            json!(base64(&[0.5, -1.0])),
            json!(base64(&[1.0, 0.25])),
        ),
    ];
    for (more, first, second) in table {
        let (rig, _) = Rig::played(two());
        let body = embedding(&more);
        let response = send(&rig, &body).await;
        assert_eq!(response.status(), 200, "{more}");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()[headers::PROMPT_TOKENS], "11");
        let frames = frames(response).await;
        assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
        let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
        let expected = json!({"object": "list", "model": "e", "data": [
                {"object": "embedding", "index": 0, "embedding": first},
                {"object": "embedding", "index": 1, "embedding": second}],
            "usage": {"prompt_tokens": 11, "total_tokens": 11}});
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn the_receipt_names_the_prompt_alone() {
    let (rig, _) = Rig::played(two());
    let body = embedding(&json!({}));
    let frames = frames(send(&rig, &body).await).await;
    let core = receipt_in(&frames).verify().expect("a receipt");
    assert_eq!((core.finish, core.usage.prompt, core.usage.completion), (Finish::Stop, 11, 0));
    assert_eq!(core.chat_id, format!("embd-{HEX}"));
    assert!(frames.iter().all(|frame| frame.cumulative == 0));
}

#[tokio::test]
async fn texts_and_token_ids_reach_the_engine() {
    let text = |text: &str| EmbedInput::Text(text.to_owned());
    let table = [
        (json!("one"), vec![text("one")]),
        (json!(["one", "two"]), vec![text("one"), text("two")]),
        (json!([5, 6]), vec![EmbedInput::Tokens(vec![5, 6])]),
        (json!([[5], [6, 7]]), vec![EmbedInput::Tokens(vec![5]), EmbedInput::Tokens(vec![6, 7])]),
    ];
    for (input, expected) in table {
        let (rig, engine) = Rig::played(two());
        drop(send(&rig, &embedding(&json!({"input": input}))).await);
        assert_eq!(engine.job().input, Input::Embed(expected));
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_named_before_the_head() {
    let table = [
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": ["a", ""]}), "input[1]"),
        (json!({"input": [[1], []]}), "input[1]"),
        (json!({"input": {"text": "a"}}), "input"),
        (json!({"input": ["a", [6]]}), "input"),
        (json!({"input": [[6], [-6]]}), "input[1][0]"),
        (json!({"input": vec!["a"; 2049]}), "input"),
        (json!({"encoding_format": "int8"}), "encoding_format"),
        (json!({"dimensions": 0}), "dimensions"),
        (json!({"dimensions": "2"}), "dimensions"),
        (json!({"model": "m"}), "model"),
    ];
    for (more, param) in table {
        let (rig, _) = Rig::played(Vec::new());
        let (status, error) = refused(&rig, &embedding(&more)).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{param} {error}");
    }
    let (rig, engine) = Rig::played(two());
    let (status, error) = refused(&rig, &embedding(&json!({"dimensions": 1}))).await;
    assert_eq!((status, error["param"].as_str()), (400, Some("dimensions")));
    assert_eq!(error["code"], "unsupported_parameter");
    assert!(engine.is_cancelled() && rig.outbox.is_empty());
}

#[tokio::test]
async fn an_answer_that_no_frame_holds_is_refused_before_it_is_computed() {
    let events = || vec![started(), vector(0, &vec![0.5; 4096])];
    let inputs = vec!["a"; 2000];
    for (encoding, status) in [("float", 400), ("base64", 400)] {
        let (rig, engine) = Rig::played(events());
        let body = embedding(&json!({"input": inputs, "encoding_format": encoding}));
        let (seen, error) = refused(&rig, &body).await;
        assert_eq!((seen, error["param"].as_str()), (status, Some("input")), "{encoding}");
        assert!(engine.is_cancelled() && rig.outbox.is_empty());
    }
    let (rig, _) = Rig::played(events());
    let body = embedding(&json!({"input": vec!["a"; 1500], "encoding_format": "base64"}));
    assert_eq!(send(&rig, &body).await.status(), 200);
}

#[tokio::test]
async fn vectors_that_are_missing_or_come_twice_are_a_failure() {
    let end = || finished(FinishReason::Stop, 0);
    let table = [
        vec![started(), vector(0, &[1.0]), end()],
        vec![started(), end()],
        vec![started(), vector(0, &[1.0]), vector(0, &[1.0])],
        vec![started(), vector(0, &[1.0]), vector(2, &[1.0])],
        vec![started(), vector(0, &[1.0]), vector(1, &[f32::NAN])],
    ];
    for events in table {
        let (rig, engine) = Rig::played(events);
        let frames = frames(send(&rig, &embedding(&json!({}))).await).await;
        assert_eq!(kinds(&frames), [FrameKind::Error]);
        assert!(engine.is_cancelled() && rig.outbox.is_empty());
    }
}

#[tokio::test]
async fn a_text_over_the_context_is_a_status() {
    let error = || EngineError::ContextLengthExceeded { prompt: 9, limit: 8 };
    let scripts =
        [vec![EngineEvent::Failed(error())], vec![started(), EngineEvent::Failed(error())]];
    for script in scripts {
        let (rig, _) = Rig::played(script);
        let (status, error) = refused(&rig, &embedding(&json!({}))).await;
        assert_eq!((status, error["param"].as_str()), (400, Some("input")));
    }
}

#[tokio::test]
async fn a_chat_has_no_vectors() {
    let (rig, _) = Rig::played(vec![started(), vector(0, &[1.0])]);
    let frames = rig.frames(&chat(&json!({}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Error]);
}
