//! Every example request of the inference operations runs, as it stands, under its own model name.

use http::Method;

use super::{Operation, operations, resolve};
use crate::rig::{Rig, Setup};

/// The models that the examples name.
const ENGINES: &str = "[[engine]]\nkind = \"scripted\"\nname = \"tiny-demo\"\ntokens = 5\n\
    [[engine]]\nkind = \"scripted\"\nname = \"tiny-embed\"\nmodel_kind = \"embedding\"";
const PRICES: &str = "[[model]]\nname = \"*\"\nprompt = 1000000\ncompletion = 1000000";

fn examples(
    operation: Operation,
) -> impl Iterator<Item = (&'static String, &'static serde_json::Value)> {
    let content = &operation.body["requestBody"]["content"]["application/json"];
    let examples = content["examples"].as_object().into_iter().flatten();
    examples.map(|(name, example)| (name, &resolve(example)["value"]))
}

fn inference() -> impl Iterator<Item = Operation> {
    operations().filter(|operation| operation.body["tags"][0] == "Inference")
}

#[test]
fn every_inference_operation_has_examples() {
    assert_eq!(inference().count(), 4);
    for operation in inference() {
        assert!(examples(operation).count() >= 3, "{}", operation.id());
        for (name, example) in examples(operation) {
            let schema = &operation.body["requestBody"]["content"]["application/json"]["schema"];
            let faults = super::schema_faults(schema, example);
            assert!(faults.is_empty(), "{} {name}: {faults:#?}", operation.id());
        }
    }
}

/// The answers themselves are judged by the client; here it is enough that there is one.
#[tokio::test(flavor = "multi_thread")]
async fn every_example_request_is_answered() {
    let setup = Setup { engine: Some(ENGINES), gateway: PRICES.to_owned(), ..Setup::default() };
    let rig = Rig::with(setup).await;
    let payer = rig.payer(1, 1_000_000_000).await;
    for operation in inference() {
        for (name, example) in examples(operation) {
            let request = rig.client.request(Method::POST, rig.url(operation.path));
            let request = request.bearer_auth(&payer.key).body(example.to_string());
            let response = request.send().await.expect("an answer");
            let status = response.status();
            let text = response.text().await.expect("the answer ends cleanly");
            assert_eq!(status, 200, "{} {name}: {text}", operation.id());
        }
    }
    rig.assert_ledger_clean().await;
}
