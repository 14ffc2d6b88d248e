//! Runs conversations and says what they show.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::json;

const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(60);
/// What the workspace was built with.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Beginnings of features, of which only those are tried, and whether one failed.
pub(crate) struct Talk {
    pub(crate) chosen: Vec<String>,
    pub(crate) failed: bool,
}

impl Talk {
    pub(crate) async fn shows(
        &mut self,
        features: &[&str],
        conversation: impl Future<Output = anyhow::Result<()>>,
    ) {
        let is_chosen =
            |feature: &&str| self.chosen.iter().any(|c| feature.starts_with(c.as_str()));
        if !self.chosen.is_empty() && !features.iter().any(is_chosen) {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "a program for the suite, without a Clock")]
        let start = Instant::now();
        let result = tokio::time::timeout(CONVERSATION_TIMEOUT, conversation).await;
        let error = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("no end in time".into()),
        };
        self.failed |= error.is_some();
        for feature in features {
            let mut line = json!({
                "client": "async-openai",
                "version": version(),
                "feature": feature,
                "passed": error.is_none(),
                "seconds": start.elapsed().as_secs_f64(),
            });
            if let Some(error) = &error {
                line["error"] = error.clone().into();
            }
            println!("{line}");
        }
    }
}

/// The version of async-openai, as the lock file has it.
fn version() -> &'static str {
    let entry = LOCK.split("[[package]]").find(|e| e.starts_with("\nname = \"async-openai\"\n"));
    entry
        .and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next())
        .unwrap_or_default()
}
