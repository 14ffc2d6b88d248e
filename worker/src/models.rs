//! What a policy has to say about this worker's models: `cocoon-worker manifest`.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::engine::{self, EngineConfig, EngineStartError, ModelManifest};

/// One line of the JSON form.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    engine: &'a str,
    /// Hex of SHA-256 over the document's bytes as they stand here.
    manifest: String,
    document: &'a RawValue,
}

/// What `cocoon-worker manifest` prints.
pub async fn listed(engines: &[EngineConfig], as_json: bool) -> Result<String, EngineStartError> {
    let models = manifests(engines).await?;
    Ok(if as_json { json(&models) + "\n" } else { policy_rows(&models) })
}

/// The manifest of every engine's model. Models of the hub are downloaded first.
async fn manifests(engines: &[EngineConfig]) -> Result<Vec<ModelManifest>, EngineStartError> {
    futures_util::future::try_join_all(engines.iter().map(engine::manifest)).await
}

/// Rows for a policy file, each under a comment with the document that its digest is over.
fn policy_rows(models: &[ModelManifest]) -> String {
    let mut out = String::new();
    for ModelManifest { name, engine, manifest } in models {
        let (digest, document) = (hex::encode(manifest.digest()), manifest.document());
        let row = write!(
            out,
            "# {document}\n[[model]]\nname = \"{name}\"\nmanifest = \"sha256:{digest}\"\n\
             engine = \"{engine}\"\n\n"
        );
        row.expect("a string takes any text");
    }
    out
}

/// The same as a JSON array. The documents stand in it byte for byte.
fn json(models: &[ModelManifest]) -> String {
    let rows = models.iter().map(|model| {
        let document = model.manifest.document().to_owned();
        let document = RawValue::from_string(document).expect("a document is JSON");
        let row = Row {
            name: model.name.as_str(),
            engine: model.engine,
            manifest: hex::encode(model.manifest.digest()),
            document: &document,
        };
        serde_json::to_string(&row).expect("strings and JSON have a form")
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(",\n"))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    async fn two() -> Vec<ModelManifest> {
        let configs =
            ["kind = 'scripted'\nname = 'org/one'", "kind = 'scripted'\nname = 'two'\ntokens = 7"];
        let configs: Vec<EngineConfig> =
            configs.iter().map(|text| toml::from_str(text).unwrap()).collect();
        manifests(&configs).await.unwrap()
    }

    #[tokio::test]
    async fn rows_are_toml_and_name_the_digest_that_is_served() {
        let models = two().await;
        let rows: toml::Table = toml::from_str(&policy_rows(&models)).unwrap();
        let rows = rows["model"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for (row, model) in rows.iter().zip(&models) {
            let digest = format!("sha256:{}", hex::encode(model.manifest.digest()));
            assert_eq!(row["manifest"].as_str(), Some(digest.as_str()));
            assert_eq!(row["name"].as_str(), Some(model.name.as_str()));
            assert_eq!(row["engine"].as_str(), Some("scripted"));
        }
        assert_ne!(rows[0]["manifest"], rows[1]["manifest"]);
    }

    #[tokio::test]
    async fn the_document_in_json_hashes_to_its_digest() {
        #[derive(serde::Deserialize)]
        struct Row {
            manifest: String,
            document: Box<RawValue>,
        }
        let rows: Vec<Row> = serde_json::from_str(&json(&two().await)).unwrap();
        for row in rows {
            assert_eq!(hex::encode(Sha256::digest(row.document.get())), row.manifest);
        }
    }
}
