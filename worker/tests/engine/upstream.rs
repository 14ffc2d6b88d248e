//! Servers of several dialects, each a script of bytes.

use cocoon_worker::engine::{EngineError, EngineEvent, FinishReason};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{Answer, Running, ask, job, start, until};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What the server says, and whether it then holds the connection open or cuts it.
struct Script {
    head: String,
    pieces: Vec<String>,
    end: End,
}

#[derive(PartialEq)]
enum End {
    Clean,
    Abrupt,
    /// Waits until the client closes.
    Hold,
}

struct Heard {
    head: String,
    body: Value,
    /// Resolves when the client has closed.
    closed: oneshot::Receiver<()>,
}

/// Answers one request and reports what was asked.
async fn serve(listener: TcpListener, script: Script, heard: oneshot::Sender<Heard>) {
    let (mut stream, _) = listener.accept().await.expect("a client connects");
    let (head, body) = read_request(&mut stream).await;
    let (closing, closed) = oneshot::channel();
    drop(heard.send(Heard { head, body, closed }));
    stream.write_all(script.head.as_bytes()).await.expect("the client reads");
    for piece in &script.pieces {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        stream.write_all(chunk.as_bytes()).await.expect("the client reads");
        stream.flush().await.expect("the client reads");
    }
    match script.end {
        End::Clean => stream.write_all(b"0\r\n\r\n").await.expect("the client reads"),
        End::Abrupt => {}
        End::Hold => {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    }
    drop(closing);
}

async fn read_request(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.expect("the client writes") > 0);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").trim().parse().expect("a number");
        if body.len() >= length {
            return (head, serde_json::from_str(body).expect("a JSON body"));
        }
    }
}

async fn against(script: Script) -> (Running, oneshot::Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let config = format!(
        "kind = 'openai-upstream'\nbase_url = 'http://{address}/v1/'\nmodel = 'their-model'\nname = 'ours'"
    );
    let running = start(&config).await;
    let (sender, heard) = oneshot::channel();
    running.lifecycle.spawn("test.server", serve(listener, script, sender));
    (running, heard)
}

fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn delta(delta: &Value) -> Value {
    json!({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage(prompt: u64, completion: u64) -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": null}})
}

async fn answer(pieces: Vec<String>, end: End) -> Answer {
    let (running, _heard) = against(Script { head: HEAD.to_owned(), pieces, end }).await;
    ask(&running.engine, job("hello")).await
}

#[tokio::test]
async fn the_usual_stream_with_usage_last() {
    let text = events(&[
        delta(&json!({"role": "assistant", "content": ""})),
        delta(&json!({"content": "Hé"})),
        delta(&json!({"content": "llo"})),
        finish("stop"),
        usage(9, 4),
    ]) + "data: [DONE]\n\n";
    // Split inside a character and inside a line.
    let middle = text.find("llo").unwrap();
    let pieces = vec![text[..middle].to_owned(), text[middle..].to_owned()];
    let (running, heard) = against(Script { head: HEAD.to_owned(), pieces, end: End::Clean }).await;
    let mut asked = job("hello");
    asked.raw =
        json!({"model": "ours", "messages": [], "n": 1, "user": "me", "max_completion_tokens": 999,
        "temperature": 0.5, "stream": false, "stream_options": {"include_obfuscation": true},
        "best_of": 8, "min_tokens": 4000, "ignore_eos": true, "chat_template": "{{ 1 }}", "priority": -1,
        "guided_regex": ".*", "prompt_logprobs": 20, "seed": 3, "metadata": {"who": "me"}})
        .to_string()
        .into();
    let answer = ask(&running.engine, asked).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("Héllo", FinishReason::Stop));
    let usage = answer.usage();
    assert_eq!((usage.prompt, usage.cached, usage.completion, usage.reasoning), (9, 2, 4, 0));
    assert_eq!((answer.prompt_tokens, answer.last_count), (None, 2));

    let heard = heard.await.unwrap();
    assert!(heard.head.starts_with("post /v1/chat/completions http/1.1"), "{}", heard.head);
    let expected = json!({"model": "their-model", "messages": [], "max_tokens": 200, "temperature": 0.5, "seed": 3, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    assert_eq!(heard.body, expected);
}

#[tokio::test]
async fn thinking_has_two_names_and_usage_may_come_along() {
    for name in ["reasoning", "reasoning_content"] {
        let mut first = delta(&json!({name: "hm"}));
        first["usage"] = json!({"prompt_tokens": 7, "completion_tokens": 3});
        let mut last = finish("length");
        last["usage"] = json!({"prompt_tokens": 7, "completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 3}});
        let chunks = [first, delta(&json!({"content": "so"})), last];
        let answer = answer(vec![events(&chunks)], End::Clean).await;
        assert_eq!((answer.thoughts.as_str(), answer.text.as_str()), ("hm", "so"));
        assert_eq!((answer.finish(), answer.prompt_tokens), (FinishReason::Length, Some(7)));
        assert_eq!((answer.usage().completion, answer.usage().reasoning), (6, 3));
    }
}

#[tokio::test]
async fn counts_that_come_along_are_known_before_the_first_token() {
    let with = |mut chunk: Value, completion: u64| {
        chunk["usage"] = json!({"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 7 + completion});
        chunk
    };
    let first = with(delta(&json!({"role": "assistant", "content": ""})), 0);
    let second = with(delta(&json!({"content": "two tokens"})), 2);
    let pieces = vec![events(&[first, second])];
    let (running, _heard) = against(Script { head: HEAD.to_owned(), pieces, end: End::Hold }).await;
    let mut generation = running.engine.generate(job("hello")).unwrap();
    let started = EngineEvent::Started { prompt_tokens: Some(7) };
    assert_eq!(generation.events.recv().await, Some(started));
    let text = generation.events.recv().await;
    assert!(matches!(text, Some(EngineEvent::Delta { completion_tokens: 2, .. })), "{text:?}");
}

#[tokio::test]
async fn calls_in_pieces_leave_whole() {
    let call = |index: u32, id: Value, function: Value| {
        delta(
            &json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
        )
    };
    let chunks = [
        call(0, json!("call_a"), json!({"name": "f", "arguments": ""})),
        call(0, Value::Null, json!({"arguments": "{\"a\":"})),
        call(0, Value::Null, json!({"arguments": "1}"})),
        call(1, json!("call_b"), json!({"name": "g", "arguments": "{}"})),
        finish("tool_calls"),
        usage(5, 20),
    ];
    let answer = answer(vec![events(&chunks)], End::Clean).await;
    let pair = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
    assert_eq!(answer.calls, [pair("f", "{\"a\":1}"), pair("g", "{}")]);
    assert_eq!((answer.finish(), answer.usage().completion), (FinishReason::ToolCalls, 20));
}

#[tokio::test]
async fn what_ends_badly_is_no_answer() {
    let text = events(&[delta(&json!({"content": "half"}))]);
    let cases = [
        (vec![text.clone()], End::Clean),
        (vec![text.clone()], End::Abrupt),
        (vec![text.clone(), "data: [DONE]\n\n".to_owned()], End::Clean),
        (vec![text.clone(), "data: undefined value at 0x1234\n\n".to_owned()], End::Clean),
        (vec![text, events(&[json!({"error": {"message": "secret path"}})])], End::Clean),
    ];
    for (pieces, end) in cases {
        let answer = answer(pieces, end).await;
        assert_eq!((answer.text.as_str(), answer.error), ("half", Some(EngineError::Crashed)));
    }
}

#[tokio::test]
async fn a_server_that_ignores_the_limit_is_cut_off() {
    let many = events(&vec![delta(&json!({"content": "x"})); 1000]);
    let (running, _heard) =
        against(Script { head: HEAD.to_owned(), pieces: vec![many], end: End::Hold }).await;
    let mut asked = job("hello");
    asked.max_tokens = 10;
    let answer = ask(&running.engine, asked).await;
    assert_eq!((answer.finish(), answer.usage().completion), (FinishReason::Length, 10));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let refusal = |status: &str, body: &Value| {
        let body = body.to_string();
        format!(
            "HTTP/1.1 {status}\r\nretry-after: 7\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let context = json!({"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 90, "n_ctx": 64}});
    let invalid = json!({"error": {"message": "secret", "param": "top_p"}});
    let cases = [
        (
            refusal("429 Too Many Requests", &Value::Null),
            EngineError::Overloaded { retry_after_ms: 7000 },
        ),
        (refusal("500 Internal Server Error", &Value::Null), EngineError::Crashed),
        (refusal("401 Unauthorized", &Value::Null), EngineError::Unavailable),
        (
            refusal("400 Bad Request", &context),
            EngineError::ContextLengthExceeded { prompt: 90, limit: 64 },
        ),
        (
            refusal("400 Bad Request", &invalid),
            EngineError::InvalidRequest {
                message: "the engine does not accept this request".to_owned(),
                param: Some("top_p".to_owned()),
                code: "invalid_request",
            },
        ),
    ];
    for (head, expected) in cases {
        let (running, _heard) =
            against(Script { head, pieces: Vec::new(), end: End::Abrupt }).await;
        assert_eq!(ask(&running.engine, job("hello")).await.error, Some(expected));
    }
}

#[tokio::test]
async fn leaving_closes_the_connection() {
    let pieces = vec![events(&[delta(&json!({"content": "x"}))])];
    let (running, heard) = against(Script { head: HEAD.to_owned(), pieces, end: End::Hold }).await;
    let mut generation = running.engine.generate(job("hello")).unwrap();
    while !matches!(generation.events.recv().await, Some(EngineEvent::Delta { .. })) {}
    assert_eq!(running.engine.load().running, 1);
    drop(generation);
    // The server drops its side once it has read the end of the connection.
    assert!(heard.await.unwrap().closed.await.is_err());
    until("the permit is back", || running.engine.load().running == 0).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = format!("kind = 'openai-upstream'\nbase_url = 'http://{address}/v1'\nmodel = 'm'");
    let running = start(&config).await;
    assert!(running.engine.is_ready());
    let answer = ask(&running.engine, job("hello")).await;
    assert_eq!(answer.error, Some(EngineError::Unavailable));
    assert!(!running.engine.is_ready());
}
