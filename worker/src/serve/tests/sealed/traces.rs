//! What a trace of a sealed answer says: it leaves the machine.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// Every field of every span, as `name=value`.
#[derive(Clone, Default)]
struct Fields(Arc<Mutex<Vec<String>>>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push(format!("{}={value:?}", field.name()));
    }
}

struct Spans {
    fields: Fields,
    next: AtomicU64,
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.fields.clone());
        Id::from_u64(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.fields.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_trace_says_of_the_body_nothing_that_the_head_does_not() {
    let fields = Fields::default();
    let spans = Spans { fields: fields.clone(), next: AtomicU64::new(1) };
    let _guard = tracing::subscriber::set_default(spans);
    let refused = EngineError::InvalidRequest {
        message: "no".to_owned(),
        param: None,
        code: "invalid_json_schema",
    };
    let (rig, _) = Rig::played(vec![started(), delta("a", 1), EngineEvent::Failed(refused)]);
    let body = chat(&json!({"stream": true, "max_tokens": 7}));
    let (_, seen) = answered(&rig, headers::CHAT_PATH, &body).await;
    assert_eq!(kinds(&seen.frames).last(), Some(&FrameKind::Error));
    let said = fields.0.lock().unwrap().clone();
    let has = |text: &str| said.iter().any(|field| field == text);
    assert!(has("gen_ai.request.max_tokens=100"), "{said:?}");
    assert!(has("error.type=\"worker_refused\""), "{said:?}");
}
