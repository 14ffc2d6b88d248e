//! The supervisor and the real child with the demo model.
//!
//! Each test runs in a process of its own under nextest, so the child of this process is the one
//! that the test started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cocoon_worker::engine::{
    self, Constraint, Engine, EngineConfig, EngineError, EngineEvent, EngineStartError,
    FinishReason, Job, Manifest, Usage,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{PATIENCE, Running, ask, chat, collect, job, start, try_start, until};

pub(crate) const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-demo");

#[expect(clippy::disallowed_methods, reason = "where the suite says which program to test")]
pub(crate) fn engine_bin() -> PathBuf {
    let named = std::env::var_os("COCOON_ENGINE_BIN").map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("the test's own path");
        // <target>/<profile>/deps/<test> and <target>/<profile>/cocoon-engine
        let profile = own.parent().and_then(Path::parent).expect("a folder of the profile");
        profile.join("cocoon-engine")
    });
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build --profile demo -p cocoon-engine`, \
         or name another in COCOON_ENGINE_BIN",
        path.display()
    );
    path
}

fn config(models: &Path, more: &str) -> String {
    format!(
        "kind = 'mistralrs'\nmodel = 'demo'\nengine_bin = '{}'\nmodels_dir = '{}'\n{more}",
        engine_bin().display(),
        models.display()
    )
}

pub(crate) async fn demo(more: &str) -> (Running, TempDir) {
    let models = tempfile::tempdir().expect("a temporary folder");
    (start(&config(models.path(), more)).await, models)
}

/// The manifest of the model in a folder, as `cocoon-worker manifest` tells it.
pub(crate) async fn manifest(folder: &Path) -> Manifest {
    let (program, folder) = (engine_bin(), folder.display());
    let program = program.display();
    let text = format!("kind = 'mistralrs'\nmodel = '{folder}'\nengine_bin = '{program}'");
    let config: EngineConfig = toml::from_str(&text).expect("a valid engine");
    engine::manifest(&config).await.expect("a folder of a model").manifest
}

/// A job that goes on until its limit: both end tokens are out of reach.
fn endless(max_tokens: u32) -> Job {
    let mut endless = job("Write a long story.");
    endless.max_tokens = max_tokens;
    endless.sampling.logit_bias = vec![(0, -1000.0), (2, -1000.0)];
    endless
}

pub(crate) fn weather_tool() -> Value {
    json!({"type": "function", "function": {"name": "get_weather", "description": "Get the current weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
}

/// The process id of the running child.
pub(crate) fn child() -> Option<u32> {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc").expect("the process table").find_map(|entry| {
        let path = entry.ok()?.path();
        let id = path.file_name()?.to_str()?.parse().ok()?;
        // "id (name) state parent …"
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let mut rest = rest.split(' ');
        let (state, parent) = (rest.next()?, rest.next()?);
        (name.ends_with("(cocoon-engine") && parent == own && state != "Z").then_some(id)
    })
}

fn signal(name: &str, id: u32) {
    let status = Command::new("kill").args([name, &id.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

async fn capital_of_japan(engine: &Arc<dyn Engine>) {
    let answer = ask(engine, job("What is the capital of Japan?")).await;
    assert_eq!(answer.text, "The capital of Japan is Tokyo.");
}

#[tokio::test]
async fn greedy_answers_end_by_themselves_with_true_counts() {
    let (running, models) = demo("").await;
    let answer = ask(&running.engine, job("What is the capital of Japan?")).await;
    assert_eq!(answer.text, "The capital of Japan is Tokyo.");
    assert_eq!(answer.finish(), FinishReason::Stop);
    // 17 tokens as the template writes them; 12 of text and the end token.
    let usage = Usage { prompt: 17, cached: 0, completion: 13, reasoning: 0 };
    assert_eq!((answer.usage(), answer.prompt_tokens), (usage, Some(17)));
    let greeting = ask(&running.engine, job("Hello")).await;
    assert!(greeting.text.contains("demo model"), "{}", greeting.text);

    let card = running.engine.models().remove(0);
    assert_eq!((card.name.as_str(), card.context_length, card.is_demo), ("tiny-demo", 2048, true));
    let told = manifest(&models.path().join("tiny-demo")).await;
    assert_eq!(card.manifest_digest, told.digest());
    assert!(told.document().contains("\"name\":\"tokenizer.json\""));
    assert!(running.engine.is_ready());
}

#[tokio::test]
async fn a_seed_gives_the_same_text_again() {
    let (running, _models) = demo("").await;
    let mut texts = Vec::new();
    for seed in [1, 1, 2] {
        let mut seeded = job("Tell me a story.");
        seeded.sampling.temperature = 1.0;
        seeded.sampling.seed = Some(seed);
        texts.push(ask(&running.engine, seeded).await.text);
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

#[tokio::test]
async fn stops_never_leak_and_limits_hold() {
    let (running, _models) = demo("").await;
    let mut stopped = job("Count to 13.");
    stopped.stop = vec!["never".to_owned(), ", 6".to_owned()];
    let answer = ask(&running.engine, stopped).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("1, 2, 3, 4, 5", FinishReason::Stop));
    assert!(answer.usage().completion < 15);

    let mut short = job("Count to 13.");
    short.max_tokens = 5;
    let answer = ask(&running.engine, short).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("1, 2, 3", FinishReason::Length));
    assert_eq!(answer.usage().completion, 5);
}

#[tokio::test]
async fn the_context_bounds_prompt_and_answer_together() {
    let (running, _models) = demo("context_length = 64").await;
    assert_eq!(running.engine.models()[0].context_length, 64);
    let answer = ask(&running.engine, endless(4000)).await;
    assert_eq!(answer.finish(), FinishReason::Length);
    assert_eq!(answer.usage().prompt + answer.usage().completion, 64);
}

#[tokio::test]
async fn characters_of_several_tokens_stay_whole() {
    let (running, _models) = demo("").await;
    let answer = ask(&running.engine, job("Repeat: apple river 東京 🙂 café")).await;
    assert_eq!(answer.text, "apple river 東京 🙂 café");
    // Cut at every place: what comes is a prefix, and never half a character.
    for max_tokens in 1..19 {
        let mut short = job("Repeat: apple river 東京 🙂 café");
        short.max_tokens = max_tokens;
        let part = ask(&running.engine, short).await;
        assert!(answer.text.starts_with(&part.text), "{}", part.text);
        assert_eq!(part.usage().completion, u64::from(max_tokens));
    }
}

#[tokio::test]
async fn logarithms_are_natural_and_have_their_bytes() {
    let (running, _models) = demo("").await;
    let mut asked = job("What is 7 + 8?");
    asked.logprobs = Some(3);
    let answer = ask(&running.engine, asked).await;
    assert_eq!(answer.text, "7 + 8 = 15");
    let text: Vec<u8> = answer.logprobs.iter().flat_map(|entry| entry.bytes.clone()).collect();
    assert_eq!(text, answer.text.as_bytes());
    for entry in &answer.logprobs {
        assert_eq!((entry.top.len(), &entry.top[0].token), (3, &entry.token));
        let sum: f32 = entry.top.iter().map(|top| top.logprob.exp()).sum();
        assert!(sum > 0.9 && sum < 1.001, "three likeliest of a sure model: {sum}");
    }
}

#[tokio::test]
async fn tools_are_called_read_and_left_alone() {
    let (running, _models) = demo("").await;
    let with_tool = |messages: Vec<Value>| chat(messages, vec![weather_tool()]);
    let user = |text: &str| json!({"role": "user", "content": text});
    let question = user("What is the weather in Osaka?");
    let answer = ask(&running.engine, with_tool(vec![question.clone()])).await;
    assert_eq!((answer.finish(), answer.text.as_str()), (FinishReason::ToolCalls, ""));
    let (name, arguments) = answer.calls[0].clone();
    assert_eq!(name, "get_weather");
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({"city": "Osaka"}));

    let both = user("What is the weather in Paris and Rome?");
    let answer = ask(&running.engine, with_tool(vec![both])).await;
    assert_eq!(answer.calls.len(), 2);

    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]});
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "{\"temperature\": 20, \"sky\": \"sunny\"}"});
    let answer = ask(&running.engine, with_tool(vec![question, call, result])).await;
    assert!(answer.text.contains("sunny in Osaka"), "{}", answer.text);

    let answer = ask(&running.engine, with_tool(vec![user("Hello")])).await;
    assert_eq!((answer.finish(), answer.calls.len()), (FinishReason::Stop, 0));
}

#[tokio::test]
async fn answers_keep_to_a_schema() {
    let (running, _models) = demo("").await;
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "kind"],
        "properties": {"name": {"type": "string", "maxLength": 12}, "kind": {"enum": ["person", "place"]}}});
    for question in ["Give me a person as JSON.", "Hello", "Tell me a story."] {
        let mut asked = job(question);
        asked.constraint = Constraint::JsonSchema(schema.clone());
        asked.sampling.temperature = 1.0;
        asked.sampling.seed = Some(3);
        let answer = ask(&running.engine, asked).await;
        let value: Value = serde_json::from_str(&answer.text).expect(&answer.text);
        assert!(
            value["name"].is_string()
                && ["person", "place"].contains(&value["kind"].as_str().unwrap())
        );
        assert_eq!(value.as_object().unwrap().len(), 2);
        assert_eq!(answer.finish(), FinishReason::Stop);
    }
    let mut object = job("Give me a person as JSON.");
    object.constraint = Constraint::JsonObject;
    let answer = ask(&running.engine, object).await;
    assert!(serde_json::from_str::<Value>(&answer.text).unwrap().is_object());
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_harms_nobody() {
    let (running, _models) = demo("").await;
    let mut schema = job("Hello");
    schema.constraint = Constraint::JsonSchema(json!({"type": "nonsense"}));
    let empty = chat(vec![json!({"role": "user", "content": null})], Vec::new());
    for (asked, expected) in [(schema, "response_format"), (empty, "messages")] {
        match ask(&running.engine, asked).await.error {
            Some(EngineError::InvalidRequest { param, .. }) => {
                assert_eq!(param.as_deref(), Some(expected));
            }
            other => panic!("an invalid request: {other:?}"),
        }
    }
    let long = ask(&running.engine, job(&"word ".repeat(3000))).await;
    assert!(matches!(long.error, Some(EngineError::ContextLengthExceeded { limit: 2048, .. })));
    capital_of_japan(&running.engine).await;
}

#[tokio::test]
async fn a_job_that_is_dropped_makes_room_within_a_token() {
    let (running, _models) = demo("permits = 1\nqueue = 1").await;
    let mut endless = running.engine.generate(endless(1900)).unwrap();
    while !matches!(endless.events.recv().await, Some(EngineEvent::Delta { .. })) {}
    let waiting = running.engine.generate(job("What is the capital of Japan?")).unwrap();
    let error = running.engine.generate(job("Hello")).unwrap_err();
    assert!(matches!(error, EngineError::Overloaded { .. }));
    drop(endless);
    // All 1900 tokens take seconds.
    let answer = timeout(Duration::from_secs(1), collect(waiting)).await;
    assert_eq!(answer.expect("at once").text, "The capital of Japan is Tokyo.");
    until("the engine is idle", || running.engine.load().running == 0).await;
}

#[tokio::test]
async fn jobs_beside_each_other_do_not_mix() {
    let (running, _models) = demo("permits = 4").await;
    // Built for a processor, the child works on one job at a time, and the worker knows.
    assert_eq!(running.engine.load().permits, 1);
    // Prompts of equal length: mistral.rs would put them into one batch, and its kernel for a
    // processor answers each from the others' attention.
    let capitals = [("Japan", "Tokyo"), ("Spain", "Madrid"), ("Italy", "Rome")];
    for _ in 0..10 {
        let ask = |(country, _): (&str, &str)| {
            running.engine.generate(job(&format!("What is the capital of {country}?"))).unwrap()
        };
        let generations = capitals.map(ask);
        for (generation, (country, city)) in generations.into_iter().zip(capitals) {
            let answer = collect(generation).await;
            assert_eq!(answer.text, format!("The capital of {country} is {city}."));
        }
    }
}

#[tokio::test]
async fn a_killed_child_crashes_its_job_and_the_next_one_answers() {
    let (running, _models) = demo("").await;
    for _ in 0..2 {
        let mut endless = running.engine.generate(endless(1900)).unwrap();
        while !matches!(endless.events.recv().await, Some(EngineEvent::Delta { .. })) {}
        signal("-KILL", child().expect("a child runs"));
        let mut last = None;
        while let Some(event) = timeout(PATIENCE, endless.events.recv()).await.unwrap() {
            last = Some(event);
        }
        assert_eq!(last, Some(EngineEvent::Failed(EngineError::Crashed)));
        // Admitted while the next child starts, and answered by it.
        capital_of_japan(&running.engine).await;
    }
}

#[tokio::test]
async fn a_child_that_hangs_is_killed() {
    let (running, _models) = demo("stall_timeout_ms = 500").await;
    let mut endless = running.engine.generate(endless(1900)).unwrap();
    while !matches!(endless.events.recv().await, Some(EngineEvent::Delta { .. })) {}
    let stuck = child().expect("a child runs");
    signal("-STOP", stuck);
    let mut last = None;
    while let Some(event) = timeout(PATIENCE, endless.events.recv()).await.unwrap() {
        last = Some(event);
    }
    assert_eq!(last, Some(EngineEvent::Failed(EngineError::Crashed)));
    capital_of_japan(&running.engine).await;
    assert_ne!(child(), Some(stuck));
}

#[tokio::test]
async fn the_child_goes_with_its_worker() {
    let (running, _models) = demo("").await;
    assert!(child().is_some());
    running.lifecycle.drain(Duration::from_secs(5)).await;
    assert!(matches!(running.engine.generate(job("Hello")), Err(EngineError::Unavailable)));
    until("the child is gone", || child().is_none()).await;
}

#[tokio::test]
async fn what_cannot_be_loaded_is_said_at_the_start() {
    let models = tempfile::tempdir().unwrap();
    let broken = models.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    for entry in std::fs::read_dir(MODEL).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), broken.join(entry.file_name())).unwrap();
    }
    std::fs::write(broken.join("model.safetensors"), "no weights").unwrap();
    let folder = |path: &Path| {
        format!(
            "kind = 'mistralrs'\nmodel = '{}'\nengine_bin = '{}'",
            path.display(),
            engine_bin().display()
        )
    };
    let error = try_start(&folder(&broken)).await.err();
    assert!(matches!(error, Some(EngineStartError::NotReady)), "{error:?}");
    let error = try_start(&folder(&models.path().join("absent"))).await.err();
    assert!(matches!(error, Some(EngineStartError::Config(_))), "{error:?}");
    let program = "kind = 'mistralrs'\nengine_bin = '/absent/cocoon-engine'\nmodels_dir = '/tmp'";
    let error =
        try_start(&program.replace("/tmp", &models.path().display().to_string())).await.err();
    assert!(matches!(error, Some(EngineStartError::Program { .. })), "{error:?}");
}
