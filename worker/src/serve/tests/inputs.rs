//! What is refused, and with which words.

use super::*;

async fn refusal(rig: &Rig, request: Request<Bytes>) -> (u16, Value) {
    let response = rig.surface.handle(&rig.lease, request).await;
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    assert!(body.len() < headers::REFUSAL_BODY_BYTES_MAX);
    let body: Value = serde_json::from_slice(&body).expect("an error object");
    (status, body["error"].clone())
}

#[tokio::test]
async fn a_bad_request_names_its_parameter() {
    let message = |message: Value| json!({"messages": [message]});
    let image = json!({"role": "user", "content": [{"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]});
    let table = [
        (json!({"n": 2}), "n"),
        (json!({"n": 0}), "n"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {"voice": "x"}}), "audio"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"function_call": {"name": "f"}}), "function_call"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"logit_bias": {"word": 3}}), "logit_bias"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"stop": ["1", "2", "3", "4", "5"]}), "stop"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"stream": "true"}), "stream"),
        (message(image), "messages[0].content[1]"),
        (message(json!({"role": "function", "name": "f", "content": "x"})), "messages[0].role"),
        (message(json!({"role": "user", "content": null})), "messages[0].content"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": null}), "messages"),
    ];
    let (rig, _) = Rig::played(Vec::new());
    for (more, param) in table {
        let (status, error) = refusal(&rig, request(&chat(&more))).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{more}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["code"].is_string() && error["message"].is_string());
    }
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused() {
    let (rig, _) = Rig::played(Vec::new());
    let large = format!("[{}]", "1,".repeat(100_000));
    for body in ["", "{", "[]", "nul", "\u{feff}{}", &"[".repeat(1000), &large] {
        let request = request_of(Bytes::copy_from_slice(body.as_bytes()), head());
        let (status, error) = refusal(&rig, request).await;
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{body:.20}");
    }
    let (status, error) =
        refusal(&rig, request_of(Bytes::from_static(b"{\"\xff\":1}"), head())).await;
    assert_eq!((status, error["code"].as_str()), (400, Some("invalid_utf8")));
}

#[tokio::test]
async fn nothing_starts_without_the_gateways_head() {
    let (rig, _) = Rig::played(Vec::new());
    let body = Bytes::from(chat(&json!({})).to_string());
    let terms_of = |terms: &Terms| URL_SAFE_NO_PAD.encode(terms.encode());
    let foreign = Terms { payee: WalletAddress::new(0, [6; 32]), ..terms() };
    let late =
        Terms { not_after: NOW.saturating_sub(std::time::Duration::from_secs(1)), ..terms() };
    let nothing = Terms { max_completion_tokens: 0, ..terms() };
    let mut table: Vec<(&'static str, Option<String>)> = Vec::new();
    for name in [headers::REQUEST_ID, headers::ATTEMPT, headers::MAX_TOKENS, headers::TERMS] {
        table.push((name, None));
        table.push((name, Some("?".to_owned())));
    }
    table.push((headers::MAX_TOKENS, Some("0".to_owned())));
    table.push((headers::MAX_TOKENS, Some("-1".to_owned())));
    table.push((headers::TERMS, Some(terms_of(&foreign))));
    table.push((headers::TERMS, Some(terms_of(&late))));
    table.push((headers::TERMS, Some(terms_of(&nothing))));
    table.push((headers::TERMS, Some(terms_of(&terms()) + "AA")));
    for (name, value) in table {
        let mut head = head();
        match &value {
            Some(value) => drop(head.insert(name, value.parse().expect("ASCII"))),
            None => drop(head.remove(name)),
        }
        let (status, error) = refusal(&rig, request_of(body.clone(), head)).await;
        assert_eq!((status, &error["code"]), (500, &json!("worker_refused")), "{name}: {value:?}");
    }
    let mut twice = head();
    twice.append(headers::MAX_TOKENS, 7.into());
    assert_eq!(refusal(&rig, request_of(body, twice)).await.0, 500);
}

#[tokio::test]
async fn a_prompt_over_its_reservation_is_refused() {
    let (rig, engine) = Rig::played(vec![EngineEvent::Started { prompt_tokens: Some(1001) }]);
    assert_eq!(refusal(&rig, request(&chat(&json!({})))).await.0, 500);
    assert!(engine.is_cancelled() && rig.outbox.is_empty());
}

#[tokio::test]
async fn other_models_and_routes_are_not_found() {
    let (rig, _) = Rig::played(Vec::new());
    let (status, error) = refusal(&rig, request(&chat(&json!({"model": "other"})))).await;
    assert_eq!((status, error["code"].as_str()), (404, Some("model_not_found")));
    let mut elsewhere = request(&chat(&json!({})));
    *elsewhere.uri_mut() = "/v1/embeddings".parse().expect("a path");
    assert_eq!(refusal(&rig, elsewhere).await.0, 404);
    let mut get = request(&chat(&json!({})));
    *get.method_mut() = http::Method::GET;
    assert_eq!(refusal(&rig, get).await.0, 404);
}
