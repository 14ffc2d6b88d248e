//! What a single answer has to be.

use cocoon_openai_wire::sse::{Decoder, Event};
use http::{HeaderMap, Method};
use serde_json::Value;

use super::stream::Order;
use super::{Operation, SPEC, resolve, schema_faults, target};

/// No test streams an event as large as this.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Looks at one answer as it arrives, and panics at the first fault.
#[derive(Debug)]
pub(crate) struct Judge {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nothing is promised about it.
    Indifferent,
    Body {
        operation: Option<Operation>,
        status: u16,
        headers: HeaderMap,
        bytes: Vec<u8>,
    },
    Stream(Box<Stream>),
}

#[derive(Debug)]
struct Stream {
    schema: &'static Value,
    decoder: Decoder,
    order: Order,
    events: usize,
}

impl Judge {
    pub(crate) fn indifferent() -> Self {
        Self { name: String::new(), kind: Kind::Indifferent }
    }

    pub(crate) fn new(
        method: &Method,
        path: &str,
        asked: &[u8],
        status: u16,
        headers: &HeaderMap,
    ) -> Self {
        let operation = Operation::of(method.as_str(), path);
        let name = operation.map_or_else(|| format!("{method} {path}"), |one| one.id().to_owned());
        let name = format!("{name} {status}");
        // The index and the admin listener's pages are no part of the contract, preflights of CORS.
        let is_outside = operation.is_none() && (path == "/" || path == "/metrics");
        if is_outside || method == Method::OPTIONS || method == Method::HEAD {
            return Self { name, kind: Kind::Indifferent };
        }
        let Some(operation) = operation else {
            let (headers, bytes) = (headers.clone(), Vec::new());
            return Self { name, kind: Kind::Body { operation: None, status, headers, bytes } };
        };
        let kind = match event_schema(operation, status, headers) {
            Some(schema) => Kind::Stream(Box::new(Stream {
                schema,
                decoder: Decoder::new(EVENT_BYTES_MAX),
                order: Order::new(operation.id(), asked),
                events: 0,
            })),
            None => {
                let (headers, bytes) = (headers.clone(), Vec::new());
                Kind::Body { operation: Some(operation), status, headers, bytes }
            }
        };
        let faults = header_faults(operation, status, headers);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        Self { name, kind }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Indifferent => {}
            Kind::Body { bytes: collected, .. } => collected.extend_from_slice(bytes),
            Kind::Stream(stream) => {
                stream.decoder.push(bytes);
                while let Some(event) = stream.decoder.next_event().expect("a well-formed stream") {
                    stream.events += 1;
                    let faults = stream.faults(&event);
                    assert!(faults.is_empty(), "{}: {faults:#?}\nin {event:?}", self.name);
                }
            }
        }
    }

    /// The server ended the answer, and did not break it off.
    pub(crate) fn end(&mut self) {
        let faults = match &mut self.kind {
            Kind::Indifferent => Vec::new(),
            Kind::Body { operation, status, headers, bytes } => {
                let body = serde_json::from_slice(bytes).unwrap_or(Value::Null);
                match operation {
                    Some(operation) => answer_faults(*operation, *status, headers, &body),
                    None => undocumented_faults(*status, headers, &body),
                }
            }
            Kind::Stream(stream) => {
                println!("contract: {} events of {}", stream.events, self.name);
                stream.order.end()
            }
        };
        assert!(faults.is_empty(), "{}: {faults:#?}", self.name);
        self.kind = Kind::Indifferent;
    }
}

impl Stream {
    fn faults(&mut self, event: &Event) -> Vec<String> {
        if event.is_done() {
            return self.order.done();
        }
        let Ok(data) = serde_json::from_str(&event.data) else {
            return vec!["the data is no JSON".to_owned()];
        };
        let faults = schema_faults(self.schema, &data);
        // What does not fit may lack what its order is told by.
        if faults.is_empty() { self.order.event(event.name.as_deref(), &data) } else { faults }
    }
}

/// The schema of what an event says, where the answer is a stream.
fn event_schema(operation: Operation, status: u16, headers: &HeaderMap) -> Option<&'static Value> {
    let is_stream = headers.get("content-type")?.to_str().ok()?.starts_with("text/event-stream");
    let content = &operation.response(status)?["content"]["text/event-stream"];
    let data = &resolve(content.get("itemSchema").filter(|_| is_stream)?)["properties"]["data"];
    let branches = data["anyOf"].as_array()?;
    branches.iter().find_map(|branch| branch.get("contentSchema"))
}

/// What is wrong with a whole answer, its headers included.
pub(super) fn answer_faults(
    operation: Operation,
    status: u16,
    headers: &HeaderMap,
    body: &Value,
) -> Vec<String> {
    let Some(response) = operation.response(status) else {
        return vec![format!("the status is not documented; the answer was {body}")];
    };
    let mut faults = header_faults(operation, status, headers);
    let media_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    match response["content"].get(media_type) {
        Some(content) if media_type == "application/json" => {
            faults.extend(schema_faults(&content["schema"], body));
            faults.extend(error_faults(&content["examples"], headers, body));
        }
        Some(_) => {}
        None => faults.push(format!("a body of type '{media_type}' is not documented")),
    }
    faults
}

fn undocumented_faults(status: u16, headers: &HeaderMap, body: &Value) -> Vec<String> {
    if status < 400 {
        return vec!["there is no such operation, and it works".to_owned()];
    }
    let mut faults =
        schema_faults(&serde_json::json!({ "$ref": "#/components/schemas/ErrorBody" }), body);
    // A path that is there without the method, or none at all.
    let known = match status {
        405 => target("#/components/responses/MethodNotAllowed"),
        status => resolve(&SPEC["x-unserved"]["responses"][status.to_string()]),
    };
    faults.extend(error_faults(&known["content"]["application/json"]["examples"], headers, body));
    faults
}

fn header_faults(operation: Operation, status: u16, headers: &HeaderMap) -> Vec<String> {
    let Some(response) = operation.response(status) else {
        return vec!["the status is not documented".to_owned()];
    };
    let declared = response["headers"].as_object().into_iter().flatten();
    let faults = declared.flat_map(|(name, header)| {
        let header = resolve(header);
        match headers.get(name).map(|value| value.to_str().expect("headers are text")) {
            None if header["required"] == true => vec![format!("there is no header {name}")],
            None => Vec::new(),
            Some(value) => schema_faults(&header["schema"], &value.into())
                .into_iter()
                .map(|fault| format!("header {name}: {fault}"))
                .collect(),
        }
    });
    faults.collect()
}

/// An error's code has an example under its status, and the headers give the advice that stands
/// there.
fn error_faults(examples: &Value, headers: &HeaderMap, body: &Value) -> Vec<String> {
    let Some(code) = body["error"]["code"].as_str() else { return Vec::new() };
    let Some(example) = examples.get(code) else {
        return vec![format!("the code '{code}' is not documented under this status")];
    };
    let should_retry = headers.get("x-should-retry").and_then(|value| value.to_str().ok());
    let has_wait = headers.contains_key("retry-after") && headers.contains_key("retry-after-ms");
    let advice = match (should_retry, has_wait) {
        (Some("false"), false) => "never",
        (Some("true"), true) => "after",
        _ => "nonsense",
    };
    let documented = example["x-retry"].as_str().unwrap_or("nothing");
    let agrees = documented == advice || (documented == "either" && advice != "nonsense");
    if agrees {
        return Vec::new();
    }
    vec![format!("'{code}' is documented as '{documented}', and the headers say '{advice}'")]
}
