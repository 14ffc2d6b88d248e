//! Several engines as one: a job goes to the engine that serves its model.
//!
//! Invariants: no model is served by two of them, which is checked at the start; the load is the
//! sum of all, so that a gateway sees one worker with everybody's permits; it is ready only when
//! all are, since a gateway picks a worker, not a model in it.

use std::collections::HashMap;
use std::sync::Arc;

use cocoon_primitives::ModelName;

use super::{Engine, EngineError, EngineLoad, Generation, Job, ModelCard};

pub(super) struct Several {
    engines: Vec<Arc<dyn Engine>>,
    /// Index of the engine that serves a model.
    by_model: HashMap<ModelName, usize>,
}

impl Several {
    /// The engines as one, or the model that two of them serve.
    pub(super) fn new(engines: Vec<Arc<dyn Engine>>) -> Result<Self, ModelName> {
        let mut by_model = HashMap::new();
        for (index, engine) in engines.iter().enumerate() {
            for card in engine.models() {
                if by_model.insert(card.name.clone(), index).is_some() {
                    return Err(card.name);
                }
            }
        }
        Ok(Self { engines, by_model })
    }
}

impl Engine for Several {
    fn models(&self) -> Vec<ModelCard> {
        self.engines.iter().flat_map(|engine| engine.models()).collect()
    }

    fn generate(&self, job: Job) -> Result<Generation, EngineError> {
        match self.by_model.get(&job.model) {
            Some(index) => self.engines[*index].generate(job),
            None => Err(EngineError::InvalidRequest {
                message: "this worker does not serve the model".to_owned(),
                param: Some("model".to_owned()),
                code: "model_not_found",
            }),
        }
    }

    fn load(&self) -> EngineLoad {
        let none = EngineLoad { running: 0, waiting: 0, permits: 0 };
        self.engines.iter().map(|engine| engine.load()).fold(none, |sum, load| EngineLoad {
            running: sum.running.saturating_add(load.running),
            waiting: sum.waiting.saturating_add(load.waiting),
            permits: sum.permits.saturating_add(load.permits),
        })
    }

    fn is_ready(&self) -> bool {
        self.engines.iter().all(|engine| engine.is_ready())
    }
}

#[cfg(test)]
mod tests {
    use cocoon_primitives::{Clock, RequestId};
    use cocoon_runtime::{Lifecycle, SystemClock};

    use super::super::{
        Constraint, EngineConfig, EngineEvent, EngineStartError, Input, Reasoning, Sampling,
        ToolChoice, Usage, start_all,
    };
    use super::*;

    async fn started(
        configs: &[&str],
        lifecycle: &Lifecycle,
    ) -> Result<Arc<dyn Engine>, EngineStartError> {
        let configs: Vec<EngineConfig> =
            configs.iter().map(|text| toml::from_str(text).unwrap()).collect();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        start_all(&configs, lifecycle, clock).await
    }

    fn job(model: &str) -> Job {
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        };
        Job {
            request_id: RequestId::from_bytes([7; 16]),
            model: model.parse().unwrap(),
            input: Input::Chat {
                messages: vec![serde_json::json!({"role": "user", "content": "Hello"})],
                tools: Vec::new(),
            },
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            reasoning: Reasoning::Default,
            sampling,
            stop: Vec::new(),
            constraint: Constraint::None,
            logprobs: None,
            max_tokens: 100,
        }
    }

    async fn usage(engine: &Arc<dyn Engine>, model: &str) -> Usage {
        let mut generation = engine.generate(job(model)).unwrap();
        while let Some(event) = generation.events.recv().await {
            if let EngineEvent::Finished { usage, .. } = event {
                return usage;
            }
        }
        panic!("the answer has an end");
    }

    #[tokio::test]
    async fn each_job_goes_to_the_engine_of_its_model() {
        let lifecycle = Lifecycle::new();
        let short = "kind = 'scripted'\nname = 'short'\ntokens = 3\npermits = 5";
        let long = "kind = 'scripted'\nname = 'org/long'\ntokens = 30\npermits = 7";
        let engine = started(&[short, long], &lifecycle).await.unwrap();
        let names: Vec<_> = engine.models().into_iter().map(|card| card.name.to_string()).collect();
        assert_eq!(names, ["short", "org/long"]);
        assert_eq!(engine.load(), EngineLoad { running: 0, waiting: 0, permits: 12 });
        assert!(engine.is_ready());

        assert_eq!(usage(&engine, "short").await.completion, 3);
        assert_eq!(usage(&engine, "org/long").await.completion, 30);
        let EngineError::InvalidRequest { code, .. } = engine.generate(job("other")).unwrap_err()
        else {
            panic!("refused for its model")
        };
        assert_eq!(code, "model_not_found");

        lifecycle.drain(std::time::Duration::from_secs(5)).await;
        assert!(!engine.is_ready());
    }

    #[tokio::test]
    async fn what_is_running_is_summed() {
        let lifecycle = Lifecycle::new();
        let slow =
            |name| format!("kind = 'scripted'\nname = '{name}'\ninterval_ms = 60000\npermits = 1");
        let engine = started(&[&slow("a"), &slow("b")], &lifecycle).await.unwrap();
        let mut held: Vec<_> =
            ["a", "b", "b"].map(|model| engine.generate(job(model)).unwrap()).into();
        for generation in &mut held[..2] {
            assert!(matches!(generation.events.recv().await, Some(EngineEvent::Started { .. })));
        }
        assert_eq!(engine.load(), EngineLoad { running: 2, waiting: 1, permits: 2 });
    }

    #[tokio::test]
    async fn two_engines_with_one_model_do_not_start() {
        let lifecycle = Lifecycle::new();
        let same = "kind = 'scripted'\nname = 'same'";
        let error = started(&[same, same], &lifecycle).await.err().unwrap();
        assert!(error.to_string().contains("two engines serve the model same"), "{error}");
        assert!(started(&[], &lifecycle).await.is_err());
        assert!(started(&[same], &lifecycle).await.is_ok());
    }
}
