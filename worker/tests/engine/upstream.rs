//! Servers of several dialects, each a script of bytes.

use cocoon_worker::engine::{
    Constraint, EmbedInput, EngineError, EngineEvent, FinishReason, Input, Job, Reasoning,
    ToolChoice,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{Answer, Running, ask, chat, job, start, until};

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
    against_with(script, "").await
}

async fn against_with(script: Script, more: &str) -> (Running, oneshot::Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let config = format!(
        "kind = 'openai-upstream'\nbase_url = 'http://{address}/v1/'\nmodel = 'their-model'\nname = 'ours'\n{more}"
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
    asked.sampling.temperature = 0.5;
    asked.sampling.seed = Some(3);
    let answer = ask(&running.engine, asked).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("Héllo", FinishReason::Stop));
    let usage = answer.usage();
    assert_eq!((usage.prompt, usage.cached, usage.completion, usage.reasoning), (9, 2, 4, 0));
    assert_eq!((answer.prompt_tokens, answer.last_count), (None, 2));

    let heard = heard.await.unwrap();
    assert!(heard.head.starts_with("post /v1/chat/completions http/1.1"), "{}", heard.head);
    let expected = json!({"model": "their-model", "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 200, "temperature": 0.5, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "seed": 3, "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
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

/// What the server hears when this is asked.
async fn heard(job: Job, more: &str) -> Heard {
    let pieces = vec![events(&[finish("stop")])];
    let script = Script { head: HEAD.to_owned(), pieces, end: End::Clean };
    let (running, heard) = against_with(script, more).await;
    ask(&running.engine, job).await;
    heard.await.expect("the server is asked")
}

#[tokio::test]
async fn everything_that_a_job_says_reaches_the_server() {
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}});
    let mut asked = chat(vec![json!({"role": "user", "content": "hi"})], vec![tool.clone()]);
    asked.tool_choice = ToolChoice::Named("f".to_owned());
    asked.parallel_tool_calls = false;
    asked.reasoning = Reasoning::High;
    asked.sampling.temperature = 0.1;
    asked.sampling.presence_penalty = 0.7;
    asked.sampling.frequency_penalty = -0.3;
    asked.sampling.logit_bias = vec![(17, -100.0), (4, 2.5)];
    asked.stop = vec!["END".to_owned()];
    asked.constraint = Constraint::JsonSchema(json!({"type": "object"}));
    asked.logprobs = Some(20);
    // A client's negative number comes as its two's complement, and leaves as it was.
    asked.sampling.seed = Some(u64::MAX);
    let body = heard(asked.clone(), "").await.body;
    let expected = json!({"model": "their-model", "messages": [{"role": "user", "content": "hi"}],
        "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "reasoning_effort": "high", "temperature": 0.1, "top_p": 1.0, "presence_penalty": 0.7, "frequency_penalty": -0.3,
        "seed": -1, "logit_bias": {"17": -100.0, "4": 2.5}, "stop": ["END"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}},
        "logprobs": true, "top_logprobs": 20, "max_tokens": 200, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    assert_eq!(body, expected);
    // In the client's order.
    assert_eq!(body["tools"][0]["function"]["parameters"].to_string(), r#"{"z":1,"a":2}"#);

    for (choice, said) in
        [(ToolChoice::Auto, "auto"), (ToolChoice::None, "none"), (ToolChoice::Required, "required")]
    {
        let body = heard(Job { tool_choice: choice, ..asked.clone() }, "").await.body;
        assert_eq!(body["tool_choice"], said);
    }
    asked.constraint = Constraint::JsonObject;
    asked.reasoning = Reasoning::Off;
    let body = heard(asked.clone(), "").await.body;
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": false}));
    assert_eq!(body.get("reasoning_effort"), None);
    let body = heard(asked, "continuous_usage = false").await.body;
    assert_eq!(
        (body.get("chat_template_kwargs"), &body["reasoning_effort"]),
        (None, &json!("none"))
    );
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_choice_that_cannot_be_made_is_refused_before_the_server_is_asked() {
    let running =
        start("kind = 'openai-upstream'\nbase_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'").await;
    let embeds =
        start("kind = 'openai-upstream'\nbase_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'\nmodel_kind = 'embedding'").await;
    let input = |input| Job { input, ..job("") };
    let mixed = vec![EmbedInput::Text("a".to_owned()), EmbedInput::Tokens(vec![1])];
    let cases = [
        (&running, Job { tool_choice: ToolChoice::Required, ..job("a") }, "tool_choice"),
        (
            &running,
            Job { tool_choice: ToolChoice::Named("g".to_owned()), ..job("a") },
            "tool_choice",
        ),
        (&running, input(Input::Embed(vec![EmbedInput::Text("a".to_owned())])), "model"),
        (&embeds, job("a"), "model"),
        (&embeds, input(Input::Text("a".to_owned())), "model"),
        (&embeds, input(Input::Embed(mixed)), "input"),
    ];
    for (running, asked, expected) in cases {
        match running.engine.generate(asked) {
            Err(EngineError::InvalidRequest { param, .. }) => {
                assert_eq!(param.as_deref(), Some(expected));
            }
            other => panic!("refused at once: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_plain_prompt_goes_to_completions_and_its_columns_come_back() {
    let piece = |text: &str, logprobs: Value| json!({"choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": null}]});
    let columns = json!({"tokens": [" a", "b"], "token_logprobs": [-0.5, -1.5], "text_offset": [0, 2],
        "top_logprobs": [{" a": -0.5, " c": -0.25}, null]});
    let end = json!({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]});
    let chunks = [piece(" ab", columns), piece("!", Value::Null), end, usage(3, 4)];
    for (input, prompt) in [
        (Input::Text("Once".to_owned()), json!("Once")),
        (Input::Tokens(vec![5, 6]), json!([5, 6])),
    ] {
        let script =
            Script { head: HEAD.to_owned(), pieces: vec![events(&chunks)], end: End::Clean };
        let (running, heard) = against(script).await;
        let mut asked = Job { input, ..job("") };
        asked.logprobs = Some(2);
        let answer = ask(&running.engine, asked).await;
        assert_eq!((answer.text.as_str(), answer.finish()), (" ab!", FinishReason::Length));
        assert_eq!((answer.usage().prompt, answer.usage().completion), (3, 4));
        let logprobs: Vec<(&str, f32, usize)> = answer
            .logprobs
            .iter()
            .map(|entry| (entry.token.as_str(), entry.logprob, entry.top.len()))
            .collect();
        assert_eq!(logprobs, [(" a", -0.5, 2), ("b", -1.5, 0)]);
        assert_eq!(
            (answer.logprobs[0].top[0].token.as_str(), &answer.logprobs[0].bytes),
            (" c", &b" a".to_vec())
        );
        let heard = heard.await.unwrap();
        assert!(heard.head.starts_with("post /v1/completions http/1.1"), "{}", heard.head);
        assert_eq!(
            (&heard.body["prompt"], &heard.body["logprobs"], &heard.body["stream"]),
            (&prompt, &json!(2), &json!(true))
        );
        assert_eq!(heard.body.get("messages"), None);
    }
}

#[tokio::test]
async fn calls_without_numbers_are_told_apart_and_a_demanded_one_is_a_call() {
    let whole = |name: &str| {
        delta(
            &json!({"tool_calls": [{"id": format!("call_{name}"), "function": {"name": name, "arguments": "{}"}}]}),
        )
    };
    let more = delta(&json!({"tool_calls": [{"function": {"arguments": " "}}]}));
    let chunks = [whole("f"), more, whole("g"), finish("stop")];
    let answer = answer(vec![events(&chunks)], End::Clean).await;
    let pair = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
    assert_eq!(
        (answer.calls.clone(), answer.finish()),
        (vec![pair("f", "{} "), pair("g", "{}")], FinishReason::ToolCalls)
    );

    // A server that knows no `parallel_tool_calls`, and one that leaves numbers out.
    let numbered = |index: u32, name: &str| {
        delta(
            &json!({"tool_calls": [{"index": index, "function": {"name": name, "arguments": "{}"}}]}),
        )
    };
    let chunks = [numbered(2, "f"), numbered(5, "g"), finish("tool_calls")];
    let script = Script { head: HEAD.to_owned(), pieces: vec![events(&chunks)], end: End::Clean };
    let (running, _heard) = against(script).await;
    let answer = ask(&running.engine, Job { parallel_tool_calls: false, ..job("a") }).await;
    assert_eq!(answer.calls, [pair("f", "{}")]);
}

#[tokio::test]
async fn a_stop_that_the_server_sends_does_not_leave() {
    let chunks =
        ["so far", " E", "N", "D and", " more"].map(|text| delta(&json!({"content": text})));
    let script = [events(&chunks), events(&[finish("stop"), usage(5, 9)])];
    let script = Script { head: HEAD.to_owned(), pieces: script.to_vec(), end: End::Clean };
    let (running, _heard) = against(script).await;
    let answer = ask(&running.engine, Job { stop: vec!["END".to_owned()], ..job("a") }).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("so far ", FinishReason::Stop));
    // What held back the beginning of a stop text comes out when none follows.
    let script = vec![events(&[delta(&json!({"content": "so EN"})), finish("length")])];
    let script = Script { head: HEAD.to_owned(), pieces: script, end: End::Clean };
    let (running, _heard) = against(script).await;
    let answer = ask(&running.engine, Job { stop: vec!["END".to_owned()], ..job("a") }).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("so EN", FinishReason::Length));
}

fn whole(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn embedded(body: &Value, inputs: Vec<EmbedInput>) -> (Answer, Heard) {
    let script = Script { head: whole(body), pieces: Vec::new(), end: End::Abrupt };
    let (running, heard) = against_with(script, "model_kind = 'embedding'").await;
    let answer = ask(&running.engine, Job { input: Input::Embed(inputs), ..job("") }).await;
    (answer, heard.await.expect("the server is asked"))
}

#[tokio::test]
async fn embeddings_come_in_order_and_of_unit_length() {
    let body = json!({"object": "list", "usage": {"prompt_tokens": 5, "total_tokens": 5}, "data": [
        {"object": "embedding", "index": 1, "embedding": [0.0, -2.0]}, {"object": "embedding", "index": 0, "embedding": [3.0, 4.0]}]});
    let texts = vec![EmbedInput::Text("a".to_owned()), EmbedInput::Text("b".to_owned())];
    let (answer, heard) = embedded(&body, texts).await;
    assert_eq!(answer.vectors, [vec![0.6, 0.8], vec![0.0, -1.0]]);
    assert_eq!(
        (answer.usage().prompt, answer.usage().completion, answer.finish()),
        (5, 0, FinishReason::Stop)
    );
    assert!(heard.head.starts_with("post /v1/embeddings http/1.1"), "{}", heard.head);
    assert_eq!(
        heard.body,
        json!({"model": "their-model", "input": ["a", "b"], "encoding_format": "float"})
    );

    // 1.0 as base64 of 32 bits; ids in place of texts.
    let body = json!({"usage": {"prompt_tokens": 2}, "data": [{"embedding": "AACAPw=="}]});
    let (answer, heard) = embedded(&body, vec![EmbedInput::Tokens(vec![7, 8])]).await;
    assert_eq!((answer.vectors, heard.body["input"].clone()), (vec![vec![1.0]], json!([[7, 8]])));

    let (answer, _heard) = embedded(&json!({"data": []}), vec![EmbedInput::Tokens(vec![7])]).await;
    assert_eq!(answer.error, Some(EngineError::Crashed));
}

/// Answers every request with as many vectors as it has inputs, each telling its batch's size.
async fn embed_all(listener: TcpListener) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let (_, body) = read_request(&mut stream).await;
        let inputs = body["input"].as_array().expect("inputs").len();
        let data: Vec<Value> =
            (0..inputs).map(|index| json!({"index": index, "embedding": [inputs, 1]})).collect();
        let answer = whole(&json!({"usage": {"prompt_tokens": inputs}, "data": data}));
        stream.write_all(answer.as_bytes()).await.expect("the client reads");
    }
}

#[tokio::test]
async fn many_texts_go_in_batches() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let running = start(&format!(
        "kind = 'openai-upstream'\nbase_url = 'http://{address}/v1'\nmodel = 'm'\nmodel_kind = 'embedding'"
    ))
    .await;
    running.lifecycle.spawn("test.server", embed_all(listener));
    let inputs = vec![EmbedInput::Text("a".to_owned()); 130];
    let answer = ask(&running.engine, Job { input: Input::Embed(inputs), ..job("") }).await;
    assert_eq!((answer.vectors.len(), answer.usage().prompt), (130, 130));
    // Two full batches and what is left.
    let batches: Vec<f32> = [0, 64, 129]
        .iter()
        .map(|place| (answer.vectors[*place][0] / answer.vectors[*place][1]).round())
        .collect();
    assert_eq!(batches, [64.0, 64.0, 2.0]);
}

#[tokio::test]
async fn what_a_stop_text_cuts_is_not_told_by_logarithms() {
    let said = |text: &str, tokens: &[&str]| {
        let tokens: Vec<Value> =
            tokens.iter().map(|token| json!({"token": token, "logprob": -0.5})).collect();
        json!({"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": tokens}, "finish_reason": null}]})
    };
    let told = async |chunks: &[Value], stop: &str| {
        let script =
            Script { head: HEAD.to_owned(), pieces: vec![events(chunks)], end: End::Clean };
        let (running, _heard) = against(script).await;
        let mut asked = job("hello");
        asked.stop = vec![stop.to_owned()];
        asked.logprobs = Some(0);
        let answer = ask(&running.engine, asked).await;
        let tokens: Vec<String> = answer.logprobs.into_iter().map(|entry| entry.token).collect();
        (answer.text, tokens.concat())
    };
    let pair = |text: &str, tokens: &str| (text.to_owned(), tokens.to_owned());
    // A server that knows no stop texts, and tokens that reach into one and behind it.
    let chunks =
        [said("ab", &["a", "b"]), said("c#", &["c#"]), said("##d", &["##d"]), finish("stop")];
    assert_eq!(told(&chunks, "###").await, pair("abc", "ab"));
    assert_eq!(told(&[said("ab###d", &["ab", "#", "##", "d"])], "###").await.1, "ab");
    // What only looked like one leaves with all that belongs to it.
    assert_eq!(told(&chunks, "###e").await, pair("abc###d", "abc###d"));
    // A server that cuts, and tells of the tokens that it has cut.
    let chunks = [said("ab", &["ab"]), said("c", &["c#"]), said("", &["##"]), finish("stop")];
    assert_eq!(told(&chunks, "###").await, pair("abc", "ab"));
}
