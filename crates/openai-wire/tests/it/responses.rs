//! The Responses API's request, answer and events.

mod answer;
mod clients;
mod request;

use cocoon_openai_wire::responses::ResponsesRequest;
use serde_json::{Value, json};

/// A request with a plain input and `more` beside it.
fn with(more: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "hi"});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

fn parse(body: &Value) -> ResponsesRequest {
    ResponsesRequest::parse(body.to_string().as_bytes()).expect("a good request")
}
