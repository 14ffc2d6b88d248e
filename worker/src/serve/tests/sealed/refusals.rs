//! What a sealed request is refused for: in clear while it is closed, sealed once it is open.

use super::*;

/// A refusal in clear: status, code, and whether another worker may do better.
async fn clear_refusal(response: Response<UplinkBody>) -> (u16, String, bool) {
    assert!(!response.headers().contains_key(cocoon_seal::headers::SEALED));
    let status = response.status().as_u16();
    let retryable = response.headers().contains_key(headers::RETRYABLE);
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("an error object");
    (status, body["error"]["code"].as_str().expect("a code").to_owned(), retryable)
}

/// A refusal for the client alone: what the status line says, and the error object.
async fn sealed_refusal(sent: &Sent, response: Response<UplinkBody>) -> (u16, Value) {
    let map = response.headers();
    assert_eq!(map[CONTENT_TYPE], cocoon_seal::CONTENT_TYPE);
    assert_eq!(map[cocoon_seal::headers::SEALED], "1");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    let mut opener = sent.keys.opener();
    opener.push(&body);
    let frame = opener.next_frame().expect("genuine").expect("a frame");
    assert_eq!((frame.kind, opener.finish()), (SealedKind::Error, Ok(())));
    let refusal = SealedRefusal::from_json(&frame.data).expect("a refusal");
    assert_eq!(refusal.status, status);
    let body: Value = serde_json::from_str(refusal.body.get()).expect("an error object");
    (status, body["error"].clone())
}

fn sent(rig: &Rig) -> Sent {
    let head = seal_head(headers::CHAT_PATH, false);
    seal(rig, &head, chat(&json!({})).to_string().as_bytes())
}

#[tokio::test]
async fn what_cannot_be_opened_may_be_for_another_worker() {
    let key_config = (422, "e2ee_key_config".to_owned(), true);
    let (rig, engine) = Rig::played(hello());
    let changes: [fn(&mut Request<Bytes>); 4] = [
        |request| {
            let mut body = request.body().to_vec();
            body[0] ^= 1;
            *request.body_mut() = body.into();
        },
        |request| *request.body_mut() = Bytes::new(),
        // Bound to the body, though nothing else would be wrong with it.
        |request| {
            let name = cocoon_seal::headers::MAX_PROMPT_TOKENS;
            request.headers_mut().insert(name, 1001.into());
        },
        |request| {
            let name = cocoon_seal::headers::SEAL_KEYS;
            let keys = request.headers()[name].to_str().unwrap();
            let first = keys.split(',').next().unwrap().parse().unwrap();
            request.headers_mut().insert(name, first);
        },
    ];
    for change in changes {
        let mut request = sent(&rig).request;
        change(&mut request);
        let response = rig.surface.handle(&rig.lease, request).await;
        assert_eq!(clear_refusal(response).await, key_config);
    }
    // Another admission has other evidence.
    let mut lease = LeaseContext::clone(&rig.lease);
    let facts =
        LeaseFacts { evidence_digest: Digest::from_bytes([99; 32]), ..*lease.signer.lease() };
    let seal_key = Arc::clone(&lease.seal_key);
    lease = LeaseContext::new(&ReceiptKey::from_seed(&[4; 32]), facts, PAYEE, seal_key);
    let response = rig.surface.handle(&Arc::new(lease), sent(&rig).request).await;
    assert_eq!(clear_refusal(response).await, key_config);
    assert!(engine.jobs().is_empty());
    // Nothing of that was remembered.
    assert_eq!(rig.surface.handle(&rig.lease, sent(&rig).request).await.status(), 200);
}

#[tokio::test]
async fn a_head_that_is_not_whole_is_refused() {
    let (rig, engine) = Rig::played(hello());
    let refused = (500, "worker_refused".to_owned(), false);
    for name in cocoon_seal::headers::HEAD.into_iter().chain([cocoon_seal::headers::SEAL_KEYS]) {
        for values in [vec![], vec!["?"]] {
            let mut request = sent(&rig).request;
            request.headers_mut().remove(name);
            for value in values {
                request.headers_mut().append(name, value.parse().unwrap());
            }
            let response = rig.surface.handle(&rig.lease, request).await;
            assert_eq!(clear_refusal(response).await, refused, "{name}");
        }
        let mut request = sent(&rig).request;
        let value = request.headers()[name].clone();
        request.headers_mut().append(name, value);
        let response = rig.surface.handle(&rig.lease, request).await;
        assert_eq!(clear_refusal(response).await, refused, "{name} twice");
    }
    let mut request = sent(&rig).request;
    request.headers_mut().insert(cocoon_seal::headers::E2EE, "2".parse().unwrap());
    assert_eq!(clear_refusal(rig.surface.handle(&rig.lease, request).await).await, refused);
    assert!(engine.jobs().is_empty());
}

#[tokio::test]
async fn terms_that_the_client_did_not_seal_are_refused() {
    let price = |nano| TokenPrice::per_million(Nano::new(nano).expect("a small amount"));
    let changes: [fn(&mut Terms, TokenPrice); 7] = [
        |terms, _| terms.pay_commit = [8; 32],
        |terms, _| terms.max_completion_tokens = 101,
        |terms, _| terms.max_completion_tokens = 99,
        |terms, _| terms.max_prompt_tokens = 1001,
        |terms, dear| terms.price.prompt = dear,
        |terms, dear| terms.price.cached = dear,
        |terms, dear| terms.price.completion = dear,
    ];
    let (rig, engine) = Rig::played(hello());
    for change in changes {
        let mut terms = terms();
        change(&mut terms, price(1001));
        let mut request = sent(&rig).request;
        let terms = URL_SAFE_NO_PAD.encode(terms.encode()).parse().unwrap();
        request.headers_mut().insert(headers::TERMS, terms);
        let response = rig.surface.handle(&rig.lease, request).await;
        assert_eq!(clear_refusal(response).await, (500, "worker_refused".to_owned(), false));
    }
    assert!(engine.jobs().is_empty());
}

#[tokio::test]
async fn a_request_out_of_its_time_is_refused() {
    let (rig, engine) = Rig::played(hello());
    let second = std::time::Duration::from_secs(1);
    for not_after in [NOW.saturating_sub(second), NOW.saturating_add(361 * second)] {
        let head = Head { not_after, ..seal_head(headers::CHAT_PATH, false) };
        let sent = seal(&rig, &head, chat(&json!({})).to_string().as_bytes());
        let response = rig.surface.handle(&rig.lease, sent.request).await;
        assert_eq!(clear_refusal(response).await, (500, "worker_refused".to_owned(), false));
    }
    assert!(engine.jobs().is_empty());
}

#[tokio::test]
async fn a_body_that_says_otherwise_than_its_head_is_refused() {
    let other_model = json!({"model": "e", "messages": [{"role": "user", "content": "hi"}]});
    let table = [
        (chat(&json!({"stream": true})), 400, "sealed_head_mismatch", json!("stream")),
        (other_model, 400, "sealed_head_mismatch", json!("model")),
        // Not retryable either: no other worker could do better.
        (chat(&json!({"model": "m2"})), 400, "sealed_head_mismatch", json!("model")),
        (chat(&json!({"temperature": "hot"})), 400, "invalid_type", json!("temperature")),
        (json!("secret"), 400, "invalid_type", Value::Null),
    ];
    let (rig, engine) = Rig::played(hello());
    for (place, (body, status, code, param)) in table.into_iter().enumerate() {
        let mut head = seal_head(headers::CHAT_PATH, false);
        head.request_id = RequestId::from_bytes([u8::try_from(place).unwrap(); 16]);
        let sent = seal(&rig, &head, body.to_string().as_bytes());
        let response = rig.surface.handle(&rig.lease, sent.again()).await;
        let (seen, error) = sealed_refusal(&sent, response).await;
        assert_eq!((seen, &error["code"], &error["param"]), (status, &json!(code), &param));
    }
    let mut head = seal_head(headers::EMBEDDINGS_PATH, false);
    head.request_id = RequestId::from_bytes([99; 16]);
    let sent = seal(&rig, &head, json!({"model": "e", "input": "a"}).to_string().as_bytes());
    let (status, error) =
        sealed_refusal(&sent, rig.surface.handle(&rig.lease, sent.again()).await).await;
    assert_eq!((status, &error["code"]), (400, &json!("sealed_head_mismatch")));
    assert!(engine.jobs().is_empty());
}

#[tokio::test]
async fn a_prompt_over_the_sealed_limit_is_refused() {
    let (rig, engine) = Rig::played(vec![EngineEvent::Started { prompt_tokens: Some(1001) }]);
    let sent = sent(&rig);
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    let (status, error) = sealed_refusal(&sent, response).await;
    assert_eq!((status, &error["code"]), (400, &json!("sealed_limit_exceeded")));
    assert!(engine.is_cancelled() && rig.outbox.is_empty());
}

#[tokio::test]
async fn a_request_runs_once() {
    let (rig, engine) = Rig::several(vec![hello(), hello()], 1);
    let sent = sent(&rig);
    assert_eq!(rig.surface.handle(&rig.lease, sent.again()).await.status(), 200);
    let replayed = (409, "sealed_request_replayed".to_owned(), false);
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    assert_eq!(clear_refusal(response).await, replayed);
    // The same id with another end is the same request.
    let mut head = seal_head(headers::CHAT_PATH, false);
    head.not_after = NOW.saturating_add(std::time::Duration::from_secs(200));
    let again = seal(&rig, &head, chat(&json!({})).to_string().as_bytes());
    let response = rig.surface.handle(&rig.lease, again.request).await;
    assert_eq!(clear_refusal(response).await, replayed);
    assert_eq!(engine.jobs().len(), 1);
}

#[tokio::test]
async fn a_request_that_found_no_room_may_come_again() {
    let busy = || Err(EngineError::Overloaded { retry_after_ms: 1500 });
    let engine = Arc::new(Played::scripts(vec![busy(), Ok(hello())], 1));
    let rig = Rig::over(engine);
    let sent = sent(&rig);
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    assert_eq!(response.headers()[headers::RETRYABLE], "1");
    assert_eq!(response.headers()["retry-after-ms"], "1500");
    let (status, error) = sealed_refusal(&sent, response).await;
    assert_eq!((status, &error["code"]), (503, &json!("overloaded")));
    assert_eq!(rig.surface.handle(&rig.lease, sent.again()).await.status(), 200);
}

#[tokio::test]
async fn a_request_that_the_engine_failed_over_does_not_come_again() {
    let crashed = vec![EngineEvent::Failed(EngineError::Crashed)];
    let (rig, _) = Rig::several(vec![crashed, hello()], 1);
    let sent = sent(&rig);
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    assert_eq!(response.headers()[headers::RETRYABLE], "1");
    let (status, error) = sealed_refusal(&sent, response).await;
    assert_eq!((status, &error["code"]), (502, &json!("engine_failed")));
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    assert_eq!(clear_refusal(response).await.0, 409);
}

#[tokio::test]
async fn a_full_table_takes_no_more() {
    let engine = Arc::new(Played::scripts(vec![Ok(hello()), Ok(hello())], 1));
    let limits = Limits { sealed_requests_max: 1, ..Limits::STANDARD };
    let rig = Rig::within(limits, engine);
    let first = sent(&rig);
    assert_eq!(rig.surface.handle(&rig.lease, first.again()).await.status(), 200);
    let mut head = seal_head(headers::CHAT_PATH, false);
    head.request_id = RequestId::from_bytes([8; 16]);
    let second = seal(&rig, &head, chat(&json!({})).to_string().as_bytes());
    let response = rig.surface.handle(&rig.lease, second.again()).await;
    assert_eq!(clear_refusal(response).await, (503, "overloaded".to_owned(), true));
    assert_eq!(clear_refusal(rig.surface.handle(&rig.lease, first.again()).await).await.0, 409);
}

#[tokio::test]
async fn what_is_refused_before_an_engine_works_on_it_is_not_remembered() {
    let limits = Limits { sealed_requests_max: 1, ..Limits::STANDARD };
    let over = EngineError::ContextLengthExceeded { prompt: 5000, limit: 4096 };
    let engine = Arc::new(Played::scripts(vec![Err(over), Ok(hello())], 1));
    let rig = Rig::within(limits, engine);
    let head = |byte| Head {
        request_id: RequestId::from_bytes([byte; 16]),
        ..seal_head(headers::CHAT_PATH, false)
    };
    let bodies = [chat(&json!({"stream": true})), chat(&json!({"n": 1000})), chat(&json!({}))];
    for (byte, body) in (0..).zip(bodies) {
        let sent = seal(&rig, &head(byte), body.to_string().as_bytes());
        let response = rig.surface.handle(&rig.lease, sent.again()).await;
        assert_eq!(sealed_refusal(&sent, response).await.0, 400);
    }
    // One that is given up before the engine has taken it.
    let mut given_up = seal_head(headers::COMPLETIONS_PATH, false);
    given_up.request_id = RequestId::from_bytes([90; 16]);
    let body = json!({"model": "m", "prompt": ["a", UNENDING]}).to_string();
    let given_up = seal(&rig, &given_up, body.as_bytes());
    let handled = Box::pin(rig.surface.handle(&rig.lease, given_up.again()));
    assert!(futures_util::FutureExt::now_or_never(handled).is_none());
    let sent = sent(&rig);
    assert_eq!(rig.surface.handle(&rig.lease, sent.again()).await.status(), 200);
    // This one is.
    let other = seal(&rig, &head(91), chat(&json!({})).to_string().as_bytes());
    let response = rig.surface.handle(&rig.lease, other.request).await;
    assert_eq!(clear_refusal(response).await, (503, "overloaded".to_owned(), true));
}

fn two_prompts() -> String {
    json!({"model": "m", "prompt": ["one", "two"]}).to_string()
}

#[tokio::test]
async fn several_prompts_are_held_to_the_limit_together() {
    let of = |asked| {
        let played = Played::scripts(vec![Ok(hello()), Ok(hello())], 1);
        let engine = Arc::new(Played { asked: Some(asked), ..played });
        (Rig::over(engine.clone()), engine)
    };
    for (asked, status) in [(500, 200), (501, 400)] {
        let (rig, engine) = of(asked);
        let head = seal_head(headers::COMPLETIONS_PATH, false);
        let sent = seal(&rig, &head, two_prompts().as_bytes());
        let response = rig.surface.handle(&rig.lease, sent.again()).await;
        assert_eq!(response.status(), status, "{asked}");
        if status == 400 {
            let (_, error) = sealed_refusal(&sent, response).await;
            assert_eq!(error["code"], "sealed_limit_exceeded");
            assert!(engine.jobs().is_empty() && rig.outbox.is_empty());
        }
        let (rig, _) = of(asked);
        let body = serde_json::from_str(&two_prompts()).expect("JSON");
        let clear = rig.send_to(headers::COMPLETIONS_PATH, &body).await;
        assert_eq!(clear.status().as_u16(), if status == 400 { 500 } else { 200 });
    }
}

#[tokio::test]
async fn a_prompt_that_nobody_counts_needs_room_for_the_whole_body() {
    let uncounted = || {
        let script = || {
            let mut events = hello();
            events[0] = EngineEvent::Started { prompt_tokens: None };
            Ok(events)
        };
        let played = Played::scripts(vec![script(), script()], 1);
        let engine = Arc::new(Played { counts_prompts: false, asked: None, ..played });
        (Rig::over(engine.clone()), engine)
    };
    let bodies = [
        (headers::CHAT_PATH, chat(&json!({})).to_string()),
        (headers::COMPLETIONS_PATH, two_prompts()),
    ];
    for (path, body) in bodies {
        let bound = u64::try_from(body.len()).expect("short") + 1024;
        for (max, status) in [(bound - 1, 400), (bound, 200)] {
            let (rig, engine) = uncounted();
            let head = Head { max_prompt_tokens: max, ..seal_head(path, false) };
            let mut sent = seal(&rig, &head, body.as_bytes());
            let terms = Terms { max_prompt_tokens: max, ..terms() };
            let terms = URL_SAFE_NO_PAD.encode(terms.encode()).parse().expect("ASCII");
            sent.request.headers_mut().insert(headers::TERMS, terms);
            let response = rig.surface.handle(&rig.lease, sent.again()).await;
            assert_eq!(response.status(), status, "{path}");
            if status == 400 {
                let (_, error) = sealed_refusal(&sent, response).await;
                assert_eq!(error["code"], "sealed_limit_exceeded");
                assert!(engine.jobs().is_empty());
            }
        }
    }
}
