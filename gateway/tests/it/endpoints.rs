//! What the inference endpoints have in common, and where they differ: price, models, failures.

use std::time::Duration;

use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::sse::Decoder;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::rig::{Answer, COMPLETION_NANO, MODEL, PATIENCE, PROMPT_NANO, Payer, Rig, Setup};

/// More than any request here may cost.
const PLENTY: u64 = 1_000_000_000;
const EMBEDDER: &str = "embedder";
/// One model of each kind, at one worker.
const ENGINES: &str = "[[engine]]\nkind = \"scripted\"\ntokens = 5\n\
    [[engine]]\nkind = \"scripted\"\nname = \"embedder\"\nmodel_kind = \"embedding\"";

fn both_kinds() -> Setup {
    let price = PROMPT_NANO * 1_000_000;
    let gateway = format!("[[model]]\nname = \"{EMBEDDER}\"\nprompt = {price}\ncompletion = 0");
    Setup { engine: Some(ENGINES), gateway, ..Setup::default() }
}

fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "createChatCompletion",
        Endpoint::Responses => "createResponse",
        Endpoint::Completions => "createCompletion",
        Endpoint::Embeddings => "createEmbedding",
    }
}

/// The least that each endpoint takes.
fn request(endpoint: Endpoint, model: &str) -> Value {
    let text = "one two three";
    match endpoint {
        Endpoint::ChatCompletions => {
            json!({ "model": model, "messages": [{ "role": "user", "content": text }] })
        }
        Endpoint::Responses | Endpoint::Embeddings => json!({ "model": model, "input": text }),
        Endpoint::Completions => json!({ "model": model, "prompt": text }),
    }
}

async fn ask(rig: &Rig, payer: &Payer, endpoint: Endpoint, body: &Value) -> Answer {
    rig.post(operation(endpoint), endpoint.path(), Some(&payer.key), body).await
}

/// Prompt and completion tokens, under either API's names.
fn usage(answer: &Answer) -> (u64, u64) {
    let usage = &answer.body["usage"];
    let of = |names: [&str; 2]| names.iter().find_map(|name| usage[*name].as_u64());
    let prompt = of(["prompt_tokens", "input_tokens"]).expect("a count");
    (prompt, of(["completion_tokens", "output_tokens"]).unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_costs_what_it_used_and_leaves_a_receipt() {
    let rig = Rig::with(both_kinds()).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut charged = 0;
    let with = |endpoint, field: &str, value: Value| {
        let mut body = request(endpoint, MODEL);
        body[field] = value;
        (endpoint, body)
    };
    use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
    let two = json!(["one two three", "four"]);
    for (endpoint, body) in [
        (ChatCompletions, request(ChatCompletions, MODEL)),
        with(ChatCompletions, "n", json!(3)),
        (Responses, request(Responses, MODEL)),
        (Completions, request(Completions, MODEL)),
        with(Completions, "n", json!(2)),
        with(Completions, "prompt", two.clone()),
        (Embeddings, request(Embeddings, EMBEDDER)),
        (Embeddings, json!({ "model": EMBEDDER, "input": two })),
        (Embeddings, json!({ "model": EMBEDDER, "input": [[1, 2], [3]] })),
    ] {
        let answer = ask(&rig, &payer, endpoint, &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        let (prompt, completion) = usage(&answer);
        assert_eq!(completion == 0, endpoint == Embeddings, "{body}");
        charged += prompt * PROMPT_NANO + completion * COMPLETION_NANO;
        Rig::assert_charged(&rig.balance(&payer).await, charged);
        let id = answer.headers["cocoon-receipt-id"].to_str().expect("ASCII").to_owned();
        let path = format!("/v1/receipts/{id}");
        rig.until("the receipt is countersigned", async || {
            rig.get("getReceipt", &path, Some(&payer.key)).await.status == 200
        })
        .await;
        let row =
            &rig.get("listUsage", "/v1/usage?limit=1", Some(&payer.key)).await.body["data"][0];
        assert_eq!((&row["request_id"], &row["outcome"]), (&json!(id), &json!("completed")));
        assert_eq!(row["usage"]["prompt_tokens"], prompt);
        assert_eq!(row["usage"]["completion_tokens"], completion);
    }
    rig.assert_ledger_clean().await;
}

/// The prompt is read once however many answers it gets, and each answer counts.
#[tokio::test(flavor = "multi_thread")]
async fn several_choices_pay_for_their_prompt_once() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let mut body = request(Endpoint::ChatCompletions, MODEL);
    let one = usage(&ask(&rig, &payer, Endpoint::ChatCompletions, &body).await);
    body["n"] = json!(4);
    let four = ask(&rig, &payer, Endpoint::ChatCompletions, &body).await;
    assert_eq!(four.body["choices"].as_array().map(Vec::len), Some(4));
    assert_eq!(usage(&four), (one.0, 4 * one.1));
}

/// What the models make decides which endpoints they answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_other_kind_is_refused_before_anything_is_reserved() {
    let rig = Rig::with(both_kinds()).await;
    // Without any funds: what has to be changed is told first.
    let payer = rig.payer(1, 0).await;
    for endpoint in Endpoint::ALL {
        let model = if endpoint == Endpoint::Embeddings { MODEL } else { EMBEDDER };
        let answer = ask(&rig, &payer, endpoint, &request(endpoint, model)).await;
        answer.refused(400, "model_not_supported");
        assert_eq!(answer.body["error"]["param"], "model");
        assert_eq!(answer.headers["x-should-retry"], "false");
        let message = answer.body["error"]["message"].as_str().expect("a message");
        assert!(message.contains(model) && message.contains(endpoint.path()), "{message}");
        let unknown = ask(&rig, &payer, endpoint, &request(endpoint, "gpt-4")).await;
        unknown.refused(404, "model_not_found");
        let other = if endpoint == Endpoint::Embeddings { EMBEDDER } else { MODEL };
        let poor = ask(&rig, &payer, endpoint, &request(endpoint, other)).await;
        poor.refused(402, "insufficient_balance");
    }
    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    assert_eq!(usage["totals"]["requests"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_say_what_they_are_for() {
    let limits = "\n[limits]\ncompletion_tokens = 77";
    let setup = both_kinds();
    let gateway = setup.gateway.clone() + limits;
    let rig = Rig::with(Setup { gateway, ..setup }).await;
    let payer = rig.payer(1, 0).await;
    let list = rig.get("listModels", "/v1/models", Some(&payer.key)).await.body;
    let of = |id: &str| {
        let data = list["data"].as_array().expect("models");
        data.iter().find(|model| model["id"] == id).expect("it is listed").clone()
    };
    let (text, vectors) = (of(MODEL), of(EMBEDDER));
    assert_eq!((&text["currency"], &vectors["currency"]), (&json!("GRAM"), &json!("GRAM")));
    assert_eq!(text["cocoon"]["kind"], "chat");
    assert_eq!(vectors["cocoon"]["kind"], "embedding");
    let modalities = json!({ "input_modalities": ["text"], "output_modalities": ["text"] });
    assert_eq!(text["architecture"], modalities);
    assert_eq!(vectors["architecture"]["output_modalities"], json!(["embeddings"]));
    let endpoints = json!(["/v1/chat/completions", "/v1/responses", "/v1/completions"]);
    assert_eq!(text["supported_endpoints"], endpoints);
    assert_eq!(vectors["supported_endpoints"], json!(["/v1/embeddings"]));
    let parameters = text["supported_parameters"].as_array().expect("names");
    assert!(parameters.contains(&json!("tools")) && parameters.contains(&json!("logit_bias")));
    assert_eq!(vectors["supported_parameters"], json!(["encoding_format", "dimensions"]));
    assert_eq!(text["top_provider"]["max_completion_tokens"], 77);
    assert_eq!(text["top_provider"]["context_length"], text["context_length"]);
    assert_eq!(vectors["top_provider"]["max_completion_tokens"], Value::Null);
    for model in [&text, &vectors] {
        let id = model["id"].as_str().expect("a name");
        let one = rig.get("getModel", &format!("/v1/models/{id}"), Some(&payer.key)).await;
        assert_eq!(&one.body, model);
    }
}

/// A stream of this request, its head and as much of its body as comes.
struct Stream {
    headers: http::HeaderMap,
    text: String,
    is_clean: bool,
}

/// Reads a stream to its end; `at_first` runs once something other than a comment has come.
async fn stream(
    rig: &mut Rig,
    payer: &Payer,
    endpoint: Endpoint,
    at_first: fn(&mut Rig),
) -> Stream {
    let mut body = request(endpoint, MODEL);
    body["stream"] = json!(true);
    body[endpoint.limit_param().expect("it generates")] = json!(10_000);
    let asked = rig.client.post(rig.url(endpoint.path())).bearer_auth(&payer.key);
    let mut response = asked.body(body.to_string()).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let (mut text, mut has_begun) = (String::new(), false);
    let read = async {
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => text.push_str(std::str::from_utf8(&bytes).expect("text")),
                Ok(None) => return true,
                Err(_) => return false,
            }
            if !has_begun && text.contains("data: ") {
                has_begun = true;
                at_first(rig);
            }
        }
    };
    let is_clean = timeout(PATIENCE, read).await.expect("the stream ends");
    Stream { headers, text, is_clean }
}

/// Name and JSON of every event but `[DONE]`, and whether that is the last.
fn events(text: &str) -> (Vec<(Option<String>, Value)>, bool) {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(text.as_bytes());
    let (mut events, mut is_done) = (Vec::new(), false);
    while let Some(event) = decoder.next_event().expect("a well-formed stream") {
        assert!(!is_done, "something follows [DONE]");
        is_done = event.is_done();
        if !is_done {
            events.push((event.name, serde_json::from_str(&event.data).expect("JSON")));
        }
    }
    (events, is_done)
}

/// The end of a Responses stream that failed, numbered on from what came before.
fn assert_failed_response(text: &str, code: &str) {
    let (events, is_done) = events(text);
    assert!(is_done, "{text}");
    for (number, (name, event)) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{text}");
        assert_eq!(event["type"].as_str(), name.as_deref());
    }
    let [.., (_, error), (_, failed)] = &events[..] else { panic!("{text}") };
    assert_eq!((&error["type"], &failed["type"]), (&json!("error"), &json!("response.failed")));
    assert_eq!((&error["code"], &error["error"]["code"]), (&json!(code), &json!(code)));
    assert_eq!(failed["response"]["status"], "failed");
    if let Some((_, first)) = events.first().filter(|_| events.len() > 2) {
        assert_eq!(first["response"]["id"], failed["response"]["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_worker_is_told_in_the_shape_of_the_endpoint() {
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Completions] {
        let engine = Some("tokens = 100000\ninterval_ms = 5");
        let mut rig = Rig::with(Setup { engine, ..Setup::default() }).await;
        let payer = rig.payer(1, PLENTY).await;
        let lost = stream(&mut rig, &payer, endpoint, Rig::kill_worker).await;
        // A worker that is killed loses its engine and its connection in any order.
        let has_engine_first = lost.text.contains("engine_failed");
        let (code, outcome) = match has_engine_first {
            true => ("engine_failed", "failed"),
            false => ("worker_lost", "worker_lost"),
        };
        if endpoint == Endpoint::Responses {
            assert!(lost.is_clean, "{}", lost.text);
            assert_failed_response(&lost.text, code);
        } else {
            assert!(!lost.is_clean, "{}", lost.text);
            assert!(lost.text.contains(code) && !lost.text.contains("[DONE]"), "{}", lost.text);
        }
        rig.until("it is settled", async || rig.balance(&payer).await["reserved_nano"] == 0).await;
        let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
        assert_eq!(usage["data"][0]["outcome"], outcome);
        rig.assert_ledger_clean().await;
    }
}

/// The status goes out before the first token, with comments behind it; what then fails, fails in
/// the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_token_that_does_not_come_in_time_ends_the_wait() {
    let mut rig = Rig::with(Setup {
        engine: Some("tokens = 5\nfirst_token_ms = 60000"),
        gateway: "[limits]\nfirst_token_timeout_ms = 400\nkeep_alive_ms = 100".into(),
        ..Setup::default()
    })
    .await;
    let payer = rig.payer(1, PLENTY).await;
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Completions] {
        let late = stream(&mut rig, &payer, endpoint, |_| {}).await;
        assert!(late.text.starts_with(": keep-alive\n\n: keep-alive\n\n"), "{}", late.text);
        assert!(!late.headers.contains_key("cocoon-worker"));
        if endpoint == Endpoint::Responses {
            assert!(late.is_clean, "{}", late.text);
            assert_failed_response(&late.text, "request_timeout");
        } else {
            assert!(!late.is_clean && late.text.contains("request_timeout"), "{}", late.text);
        }
        let whole = ask(&rig, &payer, endpoint, &request(endpoint, MODEL)).await;
        whole.refused(504, "request_timeout");
        assert_eq!(whole.headers["x-should-retry"], "true");
    }
    Rig::assert_charged(&rig.balance(&payer).await, 0);
    rig.assert_ledger_clean().await;
}

/// A slow answer is kept alive, and is an answer all the same.
#[tokio::test(flavor = "multi_thread")]
async fn comments_keep_a_slow_stream_of_any_shape_alive() {
    let mut rig = Rig::with(Setup {
        engine: Some("tokens = 2\nfirst_token_ms = 300\ninterval_ms = 150"),
        gateway: "[limits]\nkeep_alive_ms = 50".into(),
        ..Setup::default()
    })
    .await;
    let payer = rig.payer(1, PLENTY).await;
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Completions] {
        let slow = stream(&mut rig, &payer, endpoint, |_| {}).await;
        assert!(slow.is_clean && slow.text.starts_with(": keep-alive\n\n"), "{}", slow.text);
        let (_, rest) = slow.text.split_once("data: ").expect("an event");
        assert!(rest.contains("\n\n: keep-alive\n\n"), "{rest}");
        assert!(events(&slow.text).1, "{}", slow.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_too_long_is_a_400_that_costs_nothing() {
    let engine = "[[engine]]\nkind = \"scripted\"\ncontext_length = 20\n\
        [[engine]]\nkind = \"scripted\"\nname = \"embedder\"\nmodel_kind = \"embedding\"\n\
        context_length = 20";
    let rig = Rig::with(Setup { engine: Some(engine), ..both_kinds() }).await;
    let payer = rig.payer(1, PLENTY).await;
    for endpoint in Endpoint::ALL {
        let model = if endpoint == Endpoint::Embeddings { EMBEDDER } else { MODEL };
        let text = request(endpoint, model).to_string();
        let long = text.replace("one two three", &"word ".repeat(200));
        let long: Value = serde_json::from_str(&long).expect("JSON");
        let answer = ask(&rig, &payer, endpoint, &long).await;
        answer.refused(400, "context_length_exceeded");
        assert_eq!(answer.headers["x-should-retry"], "false");
        let param = answer.body["error"]["param"].as_str();
        assert_eq!(param, Some(endpoint.content_param()), "{}", answer.body);
    }
    Rig::assert_charged(&rig.balance(&payer).await, 0);
    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    assert_eq!(usage["totals"]["charge_nano"], 0);
    rig.assert_ledger_clean().await;
}

/// At each bound a request is served; one above it is refused and costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_of_the_settings_hold_at_their_edge() {
    let setup = both_kinds();
    let limits = "\n[limits]\nmessages = 2\ntools = 1\nprompts = 2\nchoices = 3";
    let gateway = setup.gateway.clone() + limits;
    let rig = Rig::with(Setup { gateway, ..setup }).await;
    let payer = rig.payer(1, PLENTY).await;
    let messages = |count| vec![json!({ "role": "user", "content": "hello" }); count];
    let tool = json!({ "type": "function", "name": "f", "parameters": { "type": "object" } });
    let chat_tool = json!({ "type": "function", "function": { "name": "f" } });
    let mut second = chat_tool.clone();
    second["function"]["name"] = json!("g");
    use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
    for (endpoint, field, at, above) in [
        (ChatCompletions, "messages", json!(messages(2)), json!(messages(3))),
        (ChatCompletions, "tools", json!([chat_tool]), json!([chat_tool, second])),
        (ChatCompletions, "functions", json!([{ "name": "f" }]), json!([{ "name": "f" }, {}])),
        (ChatCompletions, "n", json!(3), json!(4)),
        (Responses, "input", json!(messages(2)), json!(messages(3))),
        (Responses, "tools", json!([tool]), json!([tool, tool])),
        (Completions, "prompt", json!(["a", "b"]), json!(["a", "b", "c"])),
        (Completions, "n", json!(3), json!(4)),
        (Embeddings, "input", json!(["a", "b"]), json!(["a", "b", "c"])),
    ] {
        let model = if endpoint == Embeddings { EMBEDDER } else { MODEL };
        let mut body = request(endpoint, model);
        body[field] = at;
        let answer = ask(&rig, &payer, endpoint, &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        let before = rig.balance(&payer).await;
        body[field] = above;
        let code = if field == "n" { "integer_out_of_range" } else { "array_above_max_length" };
        let answer = ask(&rig, &payer, endpoint, &body).await;
        answer.refused(400, code);
        assert_eq!(answer.body["error"]["param"], field);
        assert_eq!(answer.headers["x-should-retry"], "false");
        assert_eq!(rig.balance(&payer).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_holds_funds_and_a_refusal_says_so() {
    let engine = Some("tokens = 100000\ninterval_ms = 5");
    let rig = Rig::with(Setup { engine, ..Setup::default() }).await;
    let mut body = request(Endpoint::ChatCompletions, MODEL);
    body["max_completion_tokens"] = json!(100);
    body["stream"] = json!(true);
    // Enough for one worst case, not for two.
    let payer = rig.payer(1, 400_000).await;
    let rich = rig.payer(2, PLENTY).await;
    let cap = json!({ "name": "capped", "spend_cap_nano": 400_000 });
    let capped = rig.new_key(&rich.token, &cap).await.text("key");
    for (key, code) in [(&payer.key, "insufficient_balance"), (&capped, "key_spend_limit_reached")]
    {
        body["max_completion_tokens"] = json!(1500);
        let asked = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(key);
        let mut open = asked.body(body.to_string()).send().await.expect("an answer");
        assert!(open.chunk().await.expect("the stream runs").is_some());
        let path = "/v1/chat/completions";
        let refused = rig.post("createChatCompletion", path, Some(key), &body).await;
        refused.refused(402, code);
        assert_eq!(refused.body["error"]["metadata"]["limit_source"], "in_flight");
        assert_eq!(refused.headers["x-should-retry"], "true");
        assert_eq!(refused.headers["retry-after"], "5");
        body["max_completion_tokens"] = json!(100_000);
        let never = rig.post("createChatCompletion", path, Some(key), &body).await;
        never.refused(402, code);
        assert_eq!(never.body["error"]["metadata"], Value::Null);
        assert_eq!(never.headers["x-should-retry"], "false");
        assert!(!never.headers.contains_key("retry-after"));
        drop(open);
    }
}

/// A large body is not read for a wallet that has nothing to pay with.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_without_funds_is_refused_unread() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let payer = rig.payer(1, 0).await;
    for (bytes, refusal) in [((1 << 20) + 1, "402 "), (1 << 20, "")] {
        let head = format!(
            "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-length: {bytes}\r\nexpect: 100-continue\r\n\r\n",
            payer.key
        );
        let mut stream =
            tokio::net::TcpStream::connect(rig.gateway.api).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = [0; 64];
        let read = timeout(Duration::from_secs(10), stream.read(&mut answer));
        let length = read.await.expect("an answer").expect("bytes");
        let status = String::from_utf8_lossy(&answer[..length]);
        let expected = if refusal.is_empty() { "HTTP/1.1 100 " } else { "HTTP/1.1 402 " };
        assert!(status.starts_with(expected), "{bytes}: {status}");
    }
}
