//! `[limits]`: how much one request may hold.

use serde::Deserialize;

use super::Problem;
use crate::engine::{EMBED_INPUTS_MAX, STOPS_MAX};
use crate::serve::Limits;

/// Deeper than serde's own bound no JSON arrives.
const SCHEMA_DEPTH_MAX: usize = 128;

/// Every setting is written once here: its name in the file is that of the field.
macro_rules! limits {
    ($($field:ident: $kind:ty),+ $(,)?) => {
        /// As written; what is absent has its standard value.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct RawLimits {
            $($field: Option<$kind>),+
        }

        impl RawLimits {
            pub(super) fn check(&self, problems: &mut Vec<Problem>) -> Limits {
                $(if self.$field == Some(0) {
                    let name = stringify!($field);
                    problems.push(Problem::Limit(format!("{name} must be at least 1")));
                })+
                let limits = Limits {
                    $($field: self.$field.unwrap_or(Limits::STANDARD.$field)),+
                };
                check_highest(&limits, problems);
                limits
            }
        }
    };
}

limits! {
    choices_in_flight: u32,
    messages_max: usize,
    tools_max: usize,
    tool_name_bytes_max: usize,
    tool_description_bytes_max: usize,
    schema_bytes_max: usize,
    schema_depth_max: usize,
    stops_max: usize,
    stop_bytes_max: usize,
    logit_bias_max: usize,
    embedding_inputs_max: usize,
    sealed_requests_max: usize,
}

/// What an engine, or a stack, would not bear.
fn check_highest(limits: &Limits, problems: &mut Vec<Problem>) {
    let highest = [
        ("stops_max", limits.stops_max, STOPS_MAX),
        ("schema_depth_max", limits.schema_depth_max, SCHEMA_DEPTH_MAX),
        ("embedding_inputs_max", limits.embedding_inputs_max, EMBED_INPUTS_MAX),
    ];
    for (name, value, most) in highest {
        if value > most {
            problems.push(Problem::Limit(format!("{name} must be at most {most}")));
        }
    }
}
