//! One `[engine]`, or several `[[engine]]`.

use std::collections::BTreeSet;
use std::fmt;

use cocoon_attest::policy::Mode;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Problem;
use crate::engine::EngineConfig;

/// Engines of one worker.
const ENGINES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct RawEngines(pub(super) Vec<EngineConfig>);

impl<'de> Deserialize<'de> for RawEngines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        // Not serde's untagged enum: that would forget which field is wrong.
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = RawEngines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one [engine] or several [[engine]]")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawEngines, A::Error> {
                let one = EngineConfig::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(RawEngines(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawEngines, A::Error> {
                let mut engines = Vec::new();
                while let Some(engine) = list.next_element()? {
                    engines.push(engine);
                }
                Ok(RawEngines(engines))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

impl RawEngines {
    /// Every problem of every engine. Names that only a model's files tell are compared when the
    /// engines start.
    pub(super) fn check(&self, mode: Mode, problems: &mut Vec<Problem>) {
        if !(1..=ENGINES_MAX).contains(&self.0.len()) {
            problems.push(Problem::Engine(format!("there must be 1 to {ENGINES_MAX} of them")));
        }
        let mut names = BTreeSet::new();
        for (index, engine) in self.0.iter().enumerate() {
            let place = if self.0.len() > 1 {
                format!("[[engine]] {}: ", index + 1)
            } else {
                String::new()
            };
            if let Err(problem) = engine.check() {
                problems.push(Problem::Engine(format!("{place}{problem}")));
            }
            if mode == Mode::Production
                && let Err(problem) = engine.check_production()
            {
                problems.push(Problem::Engine(format!("{place}{problem}")));
            }
            if let Some(name) = engine.name()
                && !names.insert(name.clone())
            {
                let problem = format!("{place}the model {name} is served twice: set `name`");
                problems.push(Problem::Engine(problem));
            }
        }
    }
}
