//! The real child with the shipped embedding model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cocoon_primitives::ModelKind;
use cocoon_worker::engine::{
    EMBED_INPUTS_MAX, EmbedInput, Engine, EngineError, EngineEvent, EngineStartError, FinishReason,
    Input, Job, Usage,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine_real::{child, demo, engine_bin, manifest};
use crate::support::{Running, ask, collect, job, start, try_start, until};

pub(crate) const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-embed");

/// What is shipped of the folder.
pub(crate) const FILES: [&str; 6] = [
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "modules.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Its token for the end of a text.
const END: u32 = 0;

async fn embedding(more: &str) -> (Running, TempDir) {
    let models = tempfile::tempdir().expect("a temporary folder");
    let config = format!(
        "kind = 'mistralrs'\nmodel = 'demo-embed'\nengine_bin = '{}'\nmodels_dir = '{}'\n{more}",
        engine_bin().display(),
        models.path().display()
    );
    (start(&config).await, models)
}

fn embed(inputs: Vec<EmbedInput>) -> Job {
    Job { input: Input::Embed(inputs), max_tokens: 0, ..job("") }
}

fn texts(texts: &[&str]) -> Job {
    embed(texts.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect())
}

fn tokens(inputs: &[&[u32]]) -> Job {
    embed(inputs.iter().map(|ids| EmbedInput::Tokens(ids.to_vec())).collect())
}

async fn vectors(engine: &Arc<dyn Engine>, job: Job) -> Vec<Vec<f32>> {
    let answer = ask(engine, job).await;
    assert_eq!(answer.error, None);
    answer.vectors
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// A copy of the shipped model to change.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("1_Pooling")).expect("an empty folder");
    for name in FILES {
        fs::copy(Path::new(MODEL).join(name), folder.path().join(name)).expect("the shipped model");
    }
    folder
}

fn change(folder: &TempDir, file: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.path().join(file);
    let text = fs::read(&path).expect("a copied file");
    let mut value = serde_json::from_slice(&text).expect("JSON");
    change(&mut value);
    fs::write(path, value.to_string()).expect("a file of ours");
}

async fn start_copy(folder: &TempDir) -> Result<Running, EngineStartError> {
    let (program, model) = (engine_bin(), folder.path().display());
    let program = program.display();
    try_start(&format!(
        "kind = 'mistralrs'\nname = 'copy'\nmodel = '{model}'\nengine_bin = '{program}'"
    ))
    .await
}

#[tokio::test]
async fn the_shipped_model_knows_what_is_near() {
    let (running, _models) = embedding("").await;
    let card = running.engine.models().remove(0);
    assert_eq!((card.name.as_str(), card.kind), ("tiny-embed", ModelKind::Embedding));
    assert_eq!((card.is_demo, card.context_length, card.engine), (true, 512, "mistralrs"));
    let digest = manifest(Path::new(MODEL)).await.digest();
    // The note beside the files is not part of what is shipped.
    assert_ne!(card.manifest_digest, digest);
    assert_eq!(card.manifest_digest, manifest(copy().path()).await.digest());

    let asked = [
        "What is the capital of France?",
        "Paris is the capital of France.",
        "Berlin is the capital of Germany.",
        "The cat sleeps on the sofa.",
        "Tell me the price of bread.",
    ];
    let answer = ask(&running.engine, texts(&asked)).await;
    assert_eq!(answer.finish(), FinishReason::Stop);
    let prompt = answer.prompt_tokens.expect("a count");
    assert_eq!(answer.usage(), Usage { prompt, ..Usage::default() });
    for vector in &answer.vectors {
        assert_eq!(vector.len(), 128);
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
    }
    let near: Vec<f32> =
        answer.vectors[1..].iter().map(|v| cosine(&answer.vectors[0], v)).collect();
    assert!(near[0] > 0.8 && near[0] > near[1] + 0.1, "{near:?}");
    assert!(near[1] > near[2] && near[1] > near[3], "{near:?}");
}

#[tokio::test]
async fn an_input_has_one_vector_whatever_stands_beside_it() {
    let (running, _models) = embedding("permits = 4").await;
    assert_eq!(running.engine.load().permits, 4);
    // Of equal length, which mistral.rs would batch, and of others, which it would pad.
    let inputs: [&[u32]; 6] =
        [&[20, 21, 22], &[300, 301, 302], &[400, 1, 500], &[20], &[9; 40], &[20, 21, 22]];
    let mut alone = Vec::new();
    for input in inputs {
        alone.extend(vectors(&running.engine, tokens(&[input])).await);
    }
    assert_eq!(alone[0], alone[5]);
    assert_ne!(alone[0], alone[1]);
    assert_eq!(vectors(&running.engine, tokens(&inputs)).await, alone);

    // Several jobs at once are no different.
    let generations: Vec<_> =
        (0..4).map(|_| running.engine.generate(tokens(&inputs)).expect("admitted")).collect();
    for generation in generations {
        assert_eq!(collect(generation).await.vectors, alone);
    }
}

#[tokio::test]
async fn a_text_and_its_tokens_are_the_same_input() {
    let (running, _models) = embedding("").await;
    let whole = tokens(&[&[20, 21, 22], &[20, 21, 22, END]]);
    let answer = ask(&running.engine, whole).await;
    assert_eq!(answer.vectors[0], answer.vectors[1]);
    // The end token counts only for the client that sends it.
    assert_eq!(answer.usage().prompt, 3 + 4);

    // One byte is one token in this vocabulary, behind the ten that were added.
    let answer = ask(&running.engine, texts(&["!"])).await;
    let byte = ask(&running.engine, tokens(&[&[9]])).await;
    assert_eq!(answer.vectors, byte.vectors);
    assert_eq!((answer.usage().prompt, byte.usage().prompt), (1, 1));
}

#[tokio::test]
async fn what_cannot_be_embedded_is_said_and_harms_nobody() {
    let (running, _models) = embedding("context_length = 50").await;
    let (engine, pid) = (&running.engine, child().expect("a child"));
    let long = "capital ".repeat(60);
    for (job, problem) in [
        (texts(&["one", ""]), "input[1] is empty"),
        (tokens(&[&[5], &[]]), "input[1] is empty"),
        (tokens(&[&[5], &[6], &[1024]]), "input[2] has a token outside the model's vocabulary"),
        (tokens(&[&[u32::MAX]]), "input[0] has a token outside the model's vocabulary"),
        (tokens(&[&[END]]), "input[0] is a single token, which this model cannot read"),
    ] {
        let Some(EngineError::InvalidRequest { message, param, code }) =
            ask(engine, job).await.error
        else {
            panic!("refused: {problem}")
        };
        assert_eq!((message.as_str(), code), (problem, "invalid_value"));
        assert_eq!(param.as_deref(), Some("input"));
    }
    let Some(EngineError::InvalidRequest { message, param, code }) =
        ask(engine, texts(&["short", &long])).await.error
    else {
        panic!("too long")
    };
    assert!(message.starts_with("input[1] has ") && message.ends_with(" reads 50"), "{message}");
    assert_eq!((param.as_deref(), code), (Some("input"), "context_length_exceeded"));
    // 49 tokens and the end token just fit.
    assert_eq!(vectors(engine, tokens(&[&[20; 49]])).await.len(), 1);
    assert!(ask(engine, tokens(&[&[20; 50]])).await.error.is_some());

    for empty in [embed(Vec::new()), tokens(&[&[5][..]].repeat(EMBED_INPUTS_MAX + 1))] {
        assert!(matches!(engine.generate(empty), Err(EngineError::InvalidRequest { .. })));
    }
    let chat = ask(engine, job("Hello")).await.error;
    assert!(matches!(chat, Some(EngineError::InvalidRequest { .. })), "{chat:?}");
    assert_eq!(vectors(engine, texts(&["Hello"])).await.len(), 1);
    assert_eq!(child(), Some(pid), "the same child all the time");
}

#[tokio::test]
async fn a_chat_model_embeds_nothing() {
    let (running, _models) = demo("").await;
    let error = ask(&running.engine, texts(&["Hello"])).await.error;
    assert!(matches!(error, Some(EngineError::InvalidRequest { .. })), "{error:?}");
}

#[tokio::test]
async fn readers_that_leave_stop_their_job_and_nothing_else() {
    let (running, _models) = embedding("permits = 2").await;
    let (engine, pid) = (&running.engine, child().expect("a child"));
    let many = || tokens(&[&[20; 60][..]].repeat(EMBED_INPUTS_MAX));
    let expected = vectors(engine, texts(&["Hello"])).await;
    for seen in [0, 1, 2, 3].repeat(5) {
        let mut generation = engine.generate(many()).expect("admitted");
        for _ in 0..seen {
            generation.events.recv().await.expect("an event");
        }
        drop(generation);
        // A short job beside the rest of it has the same answer as alone.
        assert_eq!(vectors(engine, texts(&["Hello"])).await, expected);
    }
    until("the places are free again", || engine.load().running == 0).await;
    assert_eq!(child(), Some(pid), "the same child all the time");
}

#[tokio::test]
async fn a_short_job_passes_between_the_inputs_of_a_long_one() {
    let (running, _models) = embedding("permits = 2").await;
    let long = tokens(&[&[20; 60][..]].repeat(EMBED_INPUTS_MAX));
    let mut long = running.engine.generate(long).expect("admitted");
    let first = long.events.recv().await;
    assert!(matches!(first, Some(EngineEvent::Started { .. })));
    assert_eq!(vectors(&running.engine, texts(&["Hello", "Goodbye"])).await.len(), 2);
    let mut done = 0;
    while let Ok(event) = long.events.try_recv() {
        assert!(matches!(event, EngineEvent::Embedding { .. }));
        done += 1;
    }
    assert!(done < EMBED_INPUTS_MAX / 2, "{done} inputs came first");
}

#[tokio::test]
async fn many_inputs_are_answered_in_order_whenever_they_are_read() {
    let (running, _models) = embedding("").await;
    let ids: Vec<Vec<u32>> = (0_u32..).map(|n| vec![n % 1000 + 10, n % 7 + 10]).take(300).collect();
    let job = embed(ids.iter().cloned().map(EmbedInput::Tokens).collect());
    let generation = running.engine.generate(job).expect("admitted");
    // Nothing is lost while nobody reads.
    until("all was computed", || running.engine.load().running == 0).await;
    let answer = collect(generation).await;
    assert_eq!((answer.vectors.len(), answer.usage().prompt), (300, 600));
    let again = vectors(&running.engine, tokens(&[&ids[299]])).await;
    assert_eq!(again[0], answer.vectors[299]);
}

#[tokio::test]
async fn other_ways_to_make_a_vector_work_too() {
    // Without a module that normalises, and by the mean of all tokens.
    let folder = copy();
    change(&folder, "modules.json", |modules| {
        modules.as_array_mut().unwrap().truncate(2);
    });
    change(&folder, "1_Pooling/config.json", |pooling| {
        pooling["pooling_mode_lasttoken"] = json!(false);
        pooling["pooling_mode_mean_tokens"] = json!(true);
    });
    let running = start_copy(&folder).await.unwrap();
    let mean = vectors(&running.engine, texts(&["Hello there", "Good morning"])).await;
    assert!(mean.iter().all(|vector| (cosine(vector, vector) - 1.0).abs() < 1e-5));
    assert!(!running.engine.models()[0].is_demo);

    // A tokenizer that adds no end: a single token would bring mistral.rs down.
    let folder = copy();
    change(&folder, "tokenizer.json", |tokenizer| tokenizer["post_processor"] = Value::Null);
    let running = start_copy(&folder).await.unwrap();
    let error = ask(&running.engine, tokens(&[&[20]])).await.error;
    assert!(matches!(error, Some(EngineError::InvalidRequest { .. })), "{error:?}");
    assert_eq!(vectors(&running.engine, tokens(&[&[20, 21]])).await.len(), 1);
}

#[tokio::test]
async fn a_folder_that_mistralrs_would_panic_about_is_refused() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("1_Pooling/config.json", |pooling| pooling["pooling_mode_cls_token"] = json!(true)),
        ("1_Pooling/config.json", |pooling| pooling["pooling_mode_mean_tokens"] = json!(true)),
        ("1_Pooling/config.json", |pooling| pooling["word_embedding_dimension"] = json!(64)),
        ("modules.json", |modules| modules.as_array_mut().unwrap().truncate(1)),
        ("modules.json", |modules| modules.as_array_mut().unwrap().swap(0, 1)),
    ];
    for (file, broken) in changes {
        let folder = copy();
        change(&folder, file, broken);
        let started = start_copy(&folder).await.err();
        assert!(matches!(started, Some(EngineStartError::NotReady)), "{file}: {started:?}");
    }
}
