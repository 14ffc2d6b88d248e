//! The Responses API through the surface's one entrance.

mod ends;
mod input;
mod stream;
mod tools;
mod whole;

use super::*;
use crate::engine::Input;

const RESPONSE_ID: &str = "resp_07070707070707070707070707070707";
const MESSAGE_ID: &str = "msg_07070707070707070707070707070707";
const REASONING_ID: &str = "rs_07070707070707070707070707070707";

/// A request for the model `m` with `more` beside a plain input.
fn responses(more: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "hello there"});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

async fn send(rig: &Rig, body: &Value) -> Response<UplinkBody> {
    let mut request =
        Request::post(headers::RESPONSES_PATH).body(body.to_string().into()).expect("a request");
    *request.headers_mut() = head();
    rig.surface.handle(&rig.lease, request).await
}

async fn answer_frames(rig: &Rig, body: &Value) -> Vec<Frame> {
    let response = send(rig, body).await;
    assert_eq!(response.status(), 200);
    frames(response).await
}

/// The object of a whole answer.
async fn answer(rig: &Rig, body: &Value) -> Value {
    let frames = answer_frames(rig, body).await;
    assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
    serde_json::from_slice(&frames[1].payload).expect("JSON")
}

/// The error object of a refusal.
async fn refusal(rig: &Rig, body: &Value) -> (u16, Value) {
    let response = send(rig, body).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    let mut body: Value = serde_json::from_slice(&body).expect("an error object");
    (status, body["error"].take())
}

/// The events in `text`, each named by its type and numbered from `first` without a gap, without
/// their padding and number; and whether `[DONE]` came last.
fn numbered(text: &[u8], first: u64) -> (Vec<Value>, bool) {
    let mut decoder = sse::Decoder::new(1_000_000);
    decoder.push(text);
    let (mut events, mut is_done) = (Vec::new(), false);
    while let Some(event) = decoder.next_event().expect("an event stream") {
        assert!(!is_done, "nothing comes after the end");
        if event.is_done() {
            assert_eq!(event.name, None);
            is_done = true;
            continue;
        }
        let mut value: Value = serde_json::from_str(&event.data).expect("an event is JSON");
        assert_eq!(value["type"].as_str(), event.name.as_deref());
        let number = first + u64::try_from(events.len()).expect("a small number");
        assert_eq!(value["sequence_number"], number, "{value}");
        let fields = value.as_object_mut().expect("an event is an object");
        fields.remove("sequence_number");
        fields.remove("obfuscation");
        events.push(value);
    }
    (events, is_done)
}

fn payloads(frames: &[Frame]) -> Vec<u8> {
    let data = frames.iter().filter(|frame| frame.kind == FrameKind::Data);
    data.flat_map(|frame| frame.payload.to_vec()).collect()
}

/// The events of a stream that ended cleanly.
async fn streamed(rig: &Rig, more: &Value) -> Vec<Value> {
    let mut body = responses(more);
    body["stream"] = true.into();
    let frames = answer_frames(rig, &body).await;
    let (events, is_done) = numbered(&payloads(&frames), 0);
    assert!(is_done);
    let core = verified(rig, &frames, &body);
    assert_eq!(core.chat_id, RESPONSE_ID);
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

/// What the gateway checks of the receipt among `frames`.
fn verified(rig: &Rig, frames: &[Frame], body: &Value) -> ReceiptCore {
    let receipt = receipt_in(frames);
    let core = receipt.verify().expect("the receipt verifies");
    let mut commitment = Commitment::new();
    for frame in frames.iter().filter(|frame| frame.kind == FrameKind::Data) {
        commitment.push(&frame.payload);
    }
    assert_eq!(core.resp_commit, commitment.digest(&receipt.salt));
    let body = body.to_string();
    assert_eq!(core.req_commit, request_commitment(&receipt.salt, body.as_bytes()));
    let cumulative = frames.last().map(|frame| u64::from(frame.cumulative));
    assert_eq!(Some(core.usage.completion), cumulative);
    assert_eq!(rig.posted(), receipt);
    core
}

/// The job that a request becomes, and the tools that were left out.
async fn planned(more: &Value) -> (Job, Option<String>) {
    let (rig, engine) = Rig::played(vec![started()]);
    let response = send(&rig, &responses(more)).await;
    assert_eq!(response.status(), 200, "{more}");
    let dropped = response.headers().get(headers::DROPPED_TOOLS);
    let dropped = dropped.map(|value| value.to_str().expect("ASCII").to_owned());
    (engine.job(), dropped)
}

/// The messages that an input becomes.
async fn messages(more: &Value) -> Vec<Value> {
    match planned(more).await.0.input {
        Input::Chat { messages, .. } => messages,
        other => panic!("a conversation, not {other:?}"),
    }
}

/// The parameter and the code that a request is refused with.
async fn refused(more: &Value) -> (String, String) {
    let (rig, _) = Rig::played(vec![started()]);
    let (status, error) = refusal(&rig, &responses(more)).await;
    assert_eq!(status, 400, "{more}: {error}");
    let text = |key: &str| error[key].as_str().expect("text").to_owned();
    (text("param"), text("code"))
}

/// The object as it looks before the answer has ended.
fn begun() -> Value {
    json!({
        "id": RESPONSE_ID, "object": "response", "created_at": 1_700_000_000, "completed_at": null,
        "status": "in_progress", "error": null, "incomplete_details": null, "output": [],
        "usage": null, "model": "m", "instructions": null, "max_output_tokens": null,
        "max_tool_calls": null, "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "top_logprobs": 0, "text": {"format": {"type": "text"}},
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": true,
        "reasoning": {"effort": null, "summary": null}, "metadata": {},
        "safety_identifier": null, "prompt_cache_key": null, "previous_response_id": null,
        "truncation": "disabled", "service_tier": "default", "store": false, "background": false,
    })
}

/// The object at the end.
fn ended(output: &Value, usage: &Value) -> Value {
    let mut object = begun();
    object["status"] = "completed".into();
    object["completed_at"] = 1_700_000_000.into();
    object["output"] = output.clone();
    object["usage"] = usage.clone();
    object
}

fn used(input: u64, cached: u64, output: u64, reasoning: u64) -> Value {
    json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": reasoning}})
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn message(status: &str, content: &Value) -> Value {
    json!({"type": "message", "id": MESSAGE_ID, "role": "assistant", "status": status,
        "content": content})
}

fn function_call(number: u32, status: &str, arguments: &str) -> Value {
    let id = format!("fc_07070707070707070707070707070707_{number}");
    let (call_id, name) = (format!("call_{number}"), format!("f{number}"));
    json!({"type": "function_call", "id": id, "call_id": call_id, "name": name,
        "arguments": arguments, "status": status})
}
