//! Our own sampling inside mistral.rs: the engine's ignores seed and bias and reports wrong
//! logarithms, so it is handed logits with one finite entry, our choice.
//!
//! The engine calls [`Sampler::apply`] once for each token. A [`Guide`] is asked about the choice
//! first, which costs little; only when it refuses are all tokens that it refuses masked and the
//! choice made again. With a second draw of its own that is the same distribution as masking at
//! once. Logarithms are the model's own, of before the mask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use cocoon_engine_wire::Sampling;
use mistralrs::CustomLogitsProcessor;
use tokio::sync::mpsc;

use crate::grammar::Guide;

/// Candidates that are sorted first when `top_p` cuts; nearly always enough.
const NUCLEUS: usize = 512;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) id: u32,
    /// Natural logarithm, before temperature.
    pub(crate) logprob: f32,
    pub(crate) top: Vec<(u32, f32)>,
}

pub(crate) struct Sampler {
    sampling: Sampling,
    seed: u64,
    prompt_tokens: usize,
    top: Option<usize>,
    /// A token that ends the answer, chosen when the job is cancelled.
    end: u32,
    cancelled: AtomicBool,
    tokens: mpsc::Sender<Sampled>,
    guide: Option<Mutex<Guide>>,
    /// The grammar gave up: what was said is no answer.
    is_stuck: AtomicBool,
}

/// What a job fixes for its sampler.
pub(crate) struct Plan {
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) prompt_tokens: usize,
    pub(crate) logprobs: Option<u8>,
    pub(crate) end: u32,
    pub(crate) guide: Option<Guide>,
}

/// Which draw of a step: the second one follows a refusal.
#[derive(Debug, Clone, Copy)]
enum Draw {
    First,
    Second,
}

impl Sampler {
    /// `tokens` must hold the job's whole token limit: a full channel fails the job.
    pub(crate) fn new(plan: Plan, tokens: mpsc::Sender<Sampled>) -> Self {
        Self {
            sampling: plan.sampling,
            seed: plan.seed,
            prompt_tokens: plan.prompt_tokens,
            top: plan.logprobs.map(usize::from),
            end: plan.end,
            cancelled: AtomicBool::new(false),
            tokens,
            guide: plan.guide.map(Mutex::new),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// Ends the engine's work at its next token, whether or not it would send anything.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the answer ended because its grammar could not go on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// `None` where the grammar cannot go on.
    fn choose(&self, mut logits: Vec<f32>, generated: &[u32]) -> Option<Sampled> {
        self.adjust(&mut logits, generated);
        let step = generated.len();
        let mut place = self.place(&logits, step, Draw::First);
        let report = |place: usize| match self.top {
            None => (0.0, Vec::new()),
            Some(count) => {
                let max = greatest(&logits);
                let sum = max + logits.iter().map(|logit| (logit - max).exp()).sum::<f32>().ln();
                (logits[place] - sum, likeliest_few(&logits, sum, count))
            }
        };
        if let Some(guide) = &self.guide {
            let mut guide = guide.lock().unwrap_or_else(PoisonError::into_inner);
            if !guide.allows(token(place)) {
                let mut masked = logits.clone();
                if !guide.mask(&mut masked) {
                    return None;
                }
                place = self.place(&masked, step, Draw::Second);
            }
            if !guide.take(token(place)) {
                return None;
            }
        }
        let (logprob, top) = report(place);
        Some(Sampled { id: token(place), logprob, top })
    }

    fn place(&self, logits: &[f32], step: usize, draw: Draw) -> usize {
        if self.sampling.temperature <= 0.0 {
            likeliest(logits)
        } else {
            self.draw(logits, greatest(logits), unit(self.seed, step, draw))
        }
    }

    /// Bias, and penalties for tokens of this answer: the prompt's do not count.
    fn adjust(&self, logits: &mut [f32], generated: &[u32]) {
        for (id, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(index(*id)) {
                *logit += bias;
            }
        }
        let (presence, frequency) =
            (self.sampling.presence_penalty, self.sampling.frequency_penalty);
        if presence == 0.0 && frequency == 0.0 {
            return;
        }
        let mut counts: HashMap<u32, f32> = HashMap::new();
        for id in generated {
            *counts.entry(*id).or_default() += 1.0;
        }
        for (id, count) in counts {
            if let Some(logit) = logits.get_mut(index(id)) {
                *logit -= presence + frequency * count;
            }
        }
    }

    /// Draws from the distribution at this temperature, cut to the nucleus of `top_p`.
    fn draw(&self, logits: &[f32], max: f32, unit: f64) -> usize {
        let weight = |logit: &f32| f64::from((logit - max) / self.sampling.temperature).exp();
        let mut weights: Vec<(usize, f64)> =
            logits.iter().map(weight).enumerate().filter(|(_, weight)| *weight > 0.0).collect();
        let mut total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        if self.sampling.top_p < 1.0 {
            total = nucleus(&mut weights, total * f64::from(self.sampling.top_p.max(0.0)));
        }
        let mut rest = unit * total;
        for (place, weight) in &weights {
            if rest < *weight {
                return *place;
            }
            rest -= weight;
        }
        // Rounding went past the end, or no weight is finite.
        weights.last().map_or_else(|| likeliest(logits), |(place, _)| *place)
    }

    fn send(&self, sampled: Sampled) -> candle_core::Result<()> {
        match self.tokens.try_send(sampled) {
            // Nobody listens to a job that was cancelled; the engine is told through `cancel`.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                candle_core::bail!("more tokens than the limit")
            }
        }
    }
}

impl CustomLogitsProcessor for Sampler {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> candle_core::Result<Tensor> {
        let generated = context.get(self.prompt_tokens..).unwrap_or_default();
        let size = logits.elem_count();
        let sampled = if self.cancelled.load(Ordering::Relaxed) {
            None
        } else {
            let sampled = self.choose(logits.to_vec1()?, generated);
            self.is_stuck.fetch_or(sampled.is_none(), Ordering::Relaxed);
            sampled
        };
        let id = sampled.as_ref().map_or(self.end, |sampled| sampled.id);
        if let Some(sampled) = sampled {
            self.send(sampled)?;
        }
        let mut chosen = vec![f32::NEG_INFINITY; size];
        if let Some(logit) = chosen.get_mut(index(id)) {
            *logit = 0.0;
        }
        Tensor::from_vec(chosen, size, logits.device())
    }
}

fn greatest(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn likeliest(logits: &[f32]) -> usize {
    // The first of equals, so that an answer at temperature 0 has one possible text.
    let better =
        |best: usize, place: usize| if logits[place] > logits[best] { place } else { best };
    (0..logits.len()).reduce(better).unwrap_or(0)
}

fn likeliest_few(logits: &[f32], sum: f32, count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    let count = count.min(all.len());
    if count == 0 {
        return Vec::new();
    }
    let falling = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    all.select_nth_unstable_by(count - 1, falling);
    all.truncate(count);
    all.sort_unstable_by(falling);
    all.into_iter().map(|(place, logit)| (token(place), logit - sum)).collect()
}

/// Keeps the heaviest entries that together reach `wanted`, at least one; returns their weight.
fn nucleus(weights: &mut Vec<(usize, f64)>, wanted: f64) -> f64 {
    let falling = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if weights.len() > NUCLEUS {
        weights.select_nth_unstable_by(NUCLEUS, falling);
        let first: f64 = weights[..NUCLEUS].iter().map(|(_, weight)| weight).sum();
        if first >= wanted {
            weights.truncate(NUCLEUS);
        }
    }
    weights.sort_unstable_by(falling);
    let mut sum = 0.0;
    let mut kept = 0;
    for (_, weight) in weights.iter() {
        sum += weight;
        kept += 1;
        if sum >= wanted {
            break;
        }
    }
    weights.truncate(kept);
    sum
}

/// A number in [0, 1) that depends on seed, place and draw alone.
fn unit(seed: u64, step: usize, draw: Draw) -> f64 {
    let step = u64::try_from(step).unwrap_or(u64::MAX).wrapping_add(1);
    let seed = match draw {
        Draw::First => seed,
        Draw::Second => mix(!seed),
    };
    let bits = mix(seed ^ mix(step.wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

fn token(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn sampler(change: impl FnOnce(&mut Plan)) -> (Sampler, mpsc::Receiver<Sampled>) {
        let mut plan = Plan {
            sampling: Sampling {
                temperature: 1.0,
                top_p: 1.0,
                seed: None,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                logit_bias: Vec::new(),
            },
            seed: 7,
            prompt_tokens: 2,
            logprobs: Some(2),
            end: 0,
            guide: None,
        };
        change(&mut plan);
        let (sender, receiver) = mpsc::channel(64);
        (Sampler::new(plan, sender), receiver)
    }

    fn apply(sampler: &Sampler, logits: &[f32], context: &[u32]) -> u32 {
        let logits = Tensor::from_slice(logits, logits.len(), &Device::Cpu).unwrap();
        let chosen = sampler.apply(&logits, context).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(chosen.iter().filter(|logit| logit.is_finite()).count(), 1);
        token(likeliest(&chosen))
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_likeliest_with_its_logarithm() {
        let (sampler, mut tokens) = sampler(|plan| plan.sampling.temperature = 0.0);
        assert_eq!(apply(&sampler, &[1.0, 3.0, 3.0, 0.0], &[5, 6]), 1);
        let sampled = tokens.try_recv().unwrap();
        let sum = [1.0_f32, 3.0, 3.0, 0.0].iter().map(|x| x.exp()).sum::<f32>().ln();
        assert!((sampled.logprob - (3.0 - sum)).abs() < 1e-5);
        assert_eq!(sampled.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn bias_and_penalties_move_the_choice_and_the_prompt_does_not_count() {
        let logits = [2.0, 1.0, 0.0];
        let (biased, _tokens) = sampler(|plan| {
            plan.sampling.temperature = 0.0;
            plan.sampling.logit_bias = vec![(2, 100.0), (9, 1.0)];
        });
        assert_eq!(apply(&biased, &logits, &[0, 0]), 2);
        let (penalised, _tokens) = sampler(|plan| {
            plan.sampling.temperature = 0.0;
            plan.sampling.frequency_penalty = 0.6;
        });
        assert_eq!(apply(&penalised, &logits, &[0, 0]), 0);
        assert_eq!(apply(&penalised, &logits, &[0, 0, 0]), 0);
        assert_eq!(apply(&penalised, &logits, &[0, 0, 0, 0]), 1);
    }

    #[test]
    fn the_seed_decides_and_the_draw_follows_the_weights() {
        let logits = [0.0, (3.0_f32).ln()];
        let (sampler, mut tokens) = sampler(|plan| plan.logprobs = None);
        let mut context = vec![0, 0];
        let mut ones = 0;
        for _ in 0..2000 {
            ones += apply(&sampler, &logits, &context);
            tokens.try_recv().unwrap();
            context.push(0);
        }
        assert!((1400..1600).contains(&ones), "{ones} of 2000 at probability 3/4");
        assert_eq!(apply(&sampler, &logits, &[0, 0]), apply(&sampler, &logits, &[0, 0]));
    }

    #[test]
    fn seeds_beside_each_other_have_streams_of_their_own() {
        let says = |seed| {
            let (sampler, _tokens) = sampler(|plan| {
                plan.seed = seed;
                plan.logprobs = None;
            });
            let mut context = vec![0, 0];
            for _ in 0..32 {
                context.push(apply(&sampler, &[0.0; 16], &context));
            }
            context.split_off(2)
        };
        let said = [40, 41, 42].map(says);
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let same = said[one].iter().zip(&said[other]).filter(|(a, b)| a == b).count();
            // Two of 32 by chance.
            assert!(same < 9, "{same} of 32 are the same");
        }
    }

    #[test]
    fn top_p_cuts_the_tail() {
        let (sampler, _tokens) = sampler(|plan| plan.sampling.top_p = 0.5);
        let mut context = vec![0, 0];
        for _ in 0..50 {
            assert_eq!(apply(&sampler, &[0.0, 3.0, 0.0], &context), 1);
            context.push(0);
        }
    }

    #[test]
    fn a_grammar_shapes_the_choice_and_leaves_the_logarithm() {
        // Tokens: an end, and two letters; only "b" may be said.
        let guide = crate::grammar::letter_guide("b", &["a", "b"]);
        let (sampler, mut tokens) = sampler(|plan| {
            plan.guide = Some(guide);
            plan.sampling.temperature = 0.0;
        });
        let logits = [1.0, 3.0, 2.0];
        assert_eq!(apply(&sampler, &logits, &[5, 6]), 2);
        let sum = logits.iter().map(|x: &f32| x.exp()).sum::<f32>().ln();
        let sampled = tokens.try_recv().unwrap();
        assert!((sampled.logprob - (2.0 - sum)).abs() < 1e-5);
        assert_eq!(sampled.top[0].0, 1);
        // Nothing may follow but the end.
        assert_eq!(apply(&sampler, &logits, &[5, 6, 2]), 0);
        assert!(!sampler.is_stuck());
    }

    #[test]
    fn a_grammar_that_cannot_go_on_ends_the_answer_and_says_so() {
        let guide = crate::grammar::letter_guide("b", &["a", "c"]);
        let (sampler, mut tokens) = sampler(|plan| plan.guide = Some(guide));
        assert_eq!(apply(&sampler, &[1.0, 3.0, 2.0], &[5, 6]), 0);
        assert!(sampler.is_stuck() && tokens.try_recv().is_err());
    }

    #[test]
    fn a_grammar_draws_by_the_weights_of_what_it_allows() {
        let guide = crate::grammar::letter_guide("[bc]*", &["a", "b", "c"]);
        let (sampler, mut tokens) = sampler(|plan| {
            plan.guide = Some(guide);
            plan.logprobs = None;
        });
        let mut context = vec![0, 0];
        let mut count = 0;
        for _ in 0..2000 {
            // "a" is refused nine times of ten; the other two are as one to three.
            let logits = [f32::NEG_INFINITY, (36.0_f32).ln(), 0.0, (3.0_f32).ln()];
            let id = apply(&sampler, &logits, &context);
            assert_ne!(id, 1);
            count += u32::from(id == 3);
            tokens.try_recv().unwrap();
            context.push(id);
        }
        assert!((1400..1600).contains(&count), "{count} of 2000 at probability 3/4");
    }

    #[test]
    fn a_second_draw_is_not_the_first_again() {
        let step = 3;
        let (first, second) = (unit(7, step, Draw::First), unit(7, step, Draw::Second));
        assert!((first - second).abs() > 1e-6);
    }

    #[test]
    fn a_cancelled_job_gets_an_end() {
        let (sampler, _tokens) = sampler(|plan| plan.end = 1);
        sampler.cancel();
        assert_eq!(apply(&sampler, &[9.0, 0.0], &[0, 0]), 1);
    }
}
