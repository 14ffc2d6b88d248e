//! Models by the hub's name, from a small hub of our own.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use cocoon_primitives::ModelKind;
use cocoon_worker::engine::{EmbedInput, EngineStartError, HubError, Input, Job};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::engine_real::{MODEL, engine_bin};
use crate::support::{ask, job, try_start};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of `acme/tiny`, and how often each path was asked for.
#[derive(Default)]
struct Hub {
    files: HashMap<String, Vec<u8>>,
    /// Ends after half of their bytes.
    broken: Mutex<HashSet<String>>,
    asked: Mutex<Vec<String>>,
}

impl Hub {
    fn with_tiny_demo() -> Self {
        let mut hub = Self::default();
        for entry in std::fs::read_dir(MODEL).expect("the shipped model") {
            let entry = entry.expect("the shipped model");
            let name = entry.file_name().into_string().expect("plain names");
            hub.files.insert(name, std::fs::read(entry.path()).expect("the shipped model"));
        }
        hub
    }

    fn with_tiny_embed() -> Self {
        let mut hub = Self::default();
        for name in crate::engine_real_embed::FILES {
            let path = Path::new(crate::engine_real_embed::MODEL).join(name);
            hub.files.insert(name.to_owned(), std::fs::read(path).expect("the shipped model"));
        }
        hub
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no test panics inside"))
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(bytes).expect("a request is text");
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        self.asked.lock().expect("no test panics inside").push(path.clone());
        let known = ["main", COMMIT]
            .iter()
            .find_map(|revision| path.strip_prefix(&format!("/acme/tiny/resolve/{revision}/")));
        let file = known.and_then(|name| Some((name, self.files.get(name)?)));
        let (status, name, body) = match file {
            Some((name, body)) => ("200 OK", name, body.as_slice()),
            None => ("404 Not Found", "", &[][..]),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nx-repo-commit: {COMMIT}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let is_broken = self.broken.lock().expect("no test panics inside").remove(name);
        let sent = if is_broken { &body[..body.len() / 2] } else { body };
        // A client that has seen enough leaves.
        drop(stream.write_all(head.as_bytes()).await);
        drop(stream.write_all(sent).await);
        drop(stream.shutdown().await);
    }
}

/// Serves until the test's runtime ends; the address.
#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn serve(hub: Hub) -> (Arc<Hub>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let hub = Arc::new(hub);
    let serving = Arc::clone(&hub);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serving.answer(stream).await;
        }
    });
    (hub, format!("http://{address}"))
}

fn config(endpoint: &str, models: &Path, more: &str) -> String {
    format!(
        "kind = 'mistralrs'\nmodel = 'acme/tiny'\nhub_endpoint = '{endpoint}'\nmodels_dir = '{}'\n\
         engine_bin = '{}'\n{more}",
        models.display(),
        engine_bin().display()
    )
}

async fn refused(config: &str) -> HubError {
    match try_start(config).await.err() {
        Some(EngineStartError::Hub(error)) => error,
        other => panic!("not the hub's failure but {other:?}"),
    }
}

#[tokio::test]
async fn a_model_is_downloaded_once_and_answers_under_its_name() {
    let (hub, endpoint) = serve(Hub::with_tiny_demo()).await;
    let models = tempfile::tempdir().unwrap();
    let config = config(&endpoint, models.path(), "");
    let running = try_start(&config).await.unwrap();
    let answer = ask(&running.engine, job("What is the capital of Japan?")).await;
    assert_eq!(answer.text, "The capital of Japan is Tokyo.");
    let card = running.engine.models().remove(0);
    assert_eq!((card.name.as_str(), card.owned_by.as_str()), ("acme/tiny", "acme"));
    assert!(!card.is_demo);
    let asked = hub.asked();
    assert_eq!(asked[0], "/acme/tiny/resolve/main/config.json");
    // Everything else is of the commit that the first file was of.
    let commit = format!("/acme/tiny/resolve/{COMMIT}/");
    assert!(asked[1..].iter().all(|path| path.starts_with(&commit)), "{asked:?}");

    running.lifecycle.drain(std::time::Duration::from_secs(5)).await;
    let again = try_start(&config).await.unwrap();
    assert_eq!(again.engine.models()[0].manifest_digest, card.manifest_digest);
    assert_eq!(hub.asked(), [""; 0], "a complete folder needs no network");
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_and_leaves_no_half_file() {
    let mut hub = Hub::with_tiny_demo();
    // In shards, as large models are.
    let weights = hub.files.remove("model.safetensors").unwrap();
    let shard = "model-00001-of-00001.safetensors";
    hub.files.insert(shard.to_owned(), weights);
    let index =
        format!(r#"{{"metadata": {{}}, "weight_map": {{"a": "{shard}", "b": "{shard}"}}}}"#);
    hub.files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    hub.broken = Mutex::new(HashSet::from([shard.to_owned()]));
    let (hub, endpoint) = serve(hub).await;
    let models = tempfile::tempdir().unwrap();
    let config = config(&endpoint, models.path(), "");
    let error = refused(&config).await;
    assert!(matches!(&error, HubError::Broken { file, .. } if file == shard), "{error:?}");
    let folder = models.path().join("acme--tiny");
    let names = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert!(!names().iter().any(|name| name.contains(shard)), "{:?}", names());

    hub.asked();
    let running = try_start(&config).await.unwrap();
    let answer = ask(&running.engine, job("What is the capital of Japan?")).await;
    assert_eq!(answer.text, "The capital of Japan is Tokyo.");
    let asked = hub.asked();
    assert!(asked.iter().all(|path| !path.ends_with("config.json") && !path.ends_with("r.json")));
    assert!(names().contains(&shard.to_owned()));
}

#[tokio::test]
async fn what_the_hub_does_not_give_is_said_clearly() {
    let models = tempfile::tempdir().unwrap();
    let (_hub, endpoint) = serve(Hub::with_tiny_demo()).await;
    let absent = config(&endpoint, models.path(), "").replace("acme/tiny", "acme/absent");
    let error = refused(&absent).await;
    assert!(matches!(error, HubError::NotFound { status: 404, .. }), "{error:?}");
    assert!(error.to_string().contains("acme/absent"), "{error}");

    let small = config(&endpoint, models.path(), "hub_bytes_max = 1000");
    let error = refused(&small).await;
    assert!(matches!(error, HubError::TooLarge { .. }), "{error:?}");

    let mut partial = Hub::with_tiny_demo();
    partial.files.remove("tokenizer.json");
    let (_hub, endpoint) = serve(partial).await;
    let error = refused(&config(&endpoint, models.path(), "name = 'x'")).await;
    assert!(matches!(&error, HubError::Missing { file, .. } if file == "tokenizer.json"));

    let mut hostile = Hub::with_tiny_demo();
    let index = br#"{"weight_map": {"a": "../../evil.safetensors"}}"#;
    hostile.files.insert("model.safetensors.index.json".to_owned(), index.to_vec());
    let (_hub, endpoint) = serve(hostile).await;
    let error = refused(&config(&endpoint, models.path(), "")).await;
    assert!(matches!(error, HubError::Index { .. }), "{error:?}");
}

#[tokio::test]
async fn without_a_network_it_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let models = tempfile::tempdir().unwrap();
    let error = refused(&config(&endpoint, models.path(), "")).await;
    assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("name that folder as `model`"), "{error}");
    let token = format!("hub_token_file = '{}'", models.path().join("token").display());
    let plain = try_start(&config(&endpoint, models.path(), &token)).await.err();
    assert!(matches!(plain, Some(EngineStartError::Config(_))), "a token over plain HTTP");
}

#[tokio::test]
async fn an_embedding_model_comes_with_the_folders_of_its_parts() {
    let (hub, endpoint) = serve(Hub::with_tiny_embed()).await;
    let models = tempfile::tempdir().unwrap();
    let running = try_start(&config(&endpoint, models.path(), "")).await.unwrap();
    let card = running.engine.models().remove(0);
    assert_eq!((card.name.as_str(), card.kind), ("acme/tiny", ModelKind::Embedding));
    let inputs = vec![EmbedInput::Text("Hello".to_owned())];
    let answer = ask(&running.engine, Job { input: Input::Embed(inputs), ..job("") }).await;
    assert_eq!(answer.vectors.len(), 1);
    assert!(hub.asked().iter().any(|path| path.ends_with("/1_Pooling/config.json")));
}

#[tokio::test]
async fn a_part_outside_the_models_folder_is_not_fetched() {
    for folder in ["..", "a/b", "/etc", ""] {
        let mut hub = Hub::with_tiny_embed();
        let modules =
            format!(r#"[{{"path":"{folder}","type":"sentence_transformers.models.Pooling"}}]"#);
        hub.files.insert("modules.json".to_owned(), modules.into_bytes());
        let (_hub, endpoint) = serve(hub).await;
        let models = tempfile::tempdir().unwrap();
        let error = refused(&config(&endpoint, models.path(), "")).await;
        assert!(matches!(error, HubError::Index { .. }), "{folder}: {error}");
    }
}
