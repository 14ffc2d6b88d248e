//! Answers that keep to a grammar: what may come next is decided here, token by token.
//!
//! The grammars run in our own sampler and not in mistral.rs, which would compile them on the
//! thread that generates for everybody, print a client's schema to its log, ask the sampler twice
//! for one token, and could begin only with an answer's first token. So a grammar can also leave
//! room for thinking in front of what it demands.
//!
//! Shape: [`shape`] writes the grammar's text for what a job demands, [`schema`] makes a client's
//! JSON schema fit for it, [`Grammars`] compiles, and a [`Guide`] follows one answer: the whole of
//! it, or, as [`Watch`] does, what it says of calls.
//!
//! Invariants: a grammar that is too large, or too slow at a token, ends its own job alone, because
//! a [`Probe`] has compiled it before this process does; no text of a client's schema reaches a log.

pub(crate) mod probe;
mod schema;
mod shape;
mod watch;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use mistralrs::llguidance::api::TopLevelGrammar;
use mistralrs::llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use mistralrs::llguidance::{Matcher, ParserFactory};

use self::watch::Watch;

pub(crate) use self::probe::Probe;
pub(crate) use self::shape::{Calls, Shape, Thought, Tool};
use crate::calls::CallFormat;
use crate::splitter::{Parts, Splitter};
pub(crate) use crate::tokens::SPECIAL;

/// Compiling walks a schema recursively, along its references too; unoptimised that takes more
/// stack than a thread usually has. What needs more than this ends a [`Probe`].
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Why no grammar was made, in words for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrammarError {
    #[error("uses '{0}', which cannot be enforced")]
    Keyword(&'static str),
    #[error("cannot be turned into a grammar")]
    Refused,
}

/// Compiles grammars for one vocabulary.
pub(crate) struct Grammars {
    words: Arc<[Vec<u8>]>,
    ends: Arc<BTreeSet<u32>>,
    /// Made for the first job that needs it: a large vocabulary takes a while.
    factory: OnceLock<Option<ParserFactory>>,
    /// `None` compiles what comes as it comes.
    probe: Option<Probe>,
}

/// Says of one answer what may come next.
pub(crate) enum Guide {
    /// By a grammar of all of it.
    Whole(Box<Track>),
    /// By a grammar of its calls.
    Calls(Box<Watch>),
}

/// Follows a text through its grammar.
pub(crate) struct Track {
    matcher: Matcher,
    ends: Arc<BTreeSet<u32>>,
    size: u32,
}

impl Grammars {
    /// `words` are the tokens' bytes by id; every end must be one of them.
    pub(crate) fn new(words: Vec<Vec<u8>>, ends: Arc<BTreeSet<u32>>, probe: Option<Probe>) -> Self {
        Self { words: words.into(), ends, factory: OnceLock::new(), probe }
    }

    /// Takes time and stack with the schema's size: not for a thread of the runtime.
    pub(crate) fn compile(&self, shape: &Shape) -> Result<Guide, GrammarError> {
        let track = self.probed(shape.lark()?)?;
        Ok(Guide::Whole(Box::new(track)))
    }

    /// Holds the calls of an answer to their tools and leaves the rest of it free. `parts` is what
    /// the answer is taken apart by.
    pub(crate) fn watch(&self, calls: &Calls, parts: Parts) -> Result<Guide, GrammarError> {
        let call = self.probed(calls.behind_marker()?)?;
        // The others' calls end the answer.
        let behind = (calls.format == CallFormat::Hermes)
            .then(|| Splitter::new(Parts { thinks: false, thinking: false, ..parts.clone() }));
        let words = Arc::clone(&self.words);
        Ok(Guide::Calls(Box::new(Watch::new(words, call, Splitter::new(parts), behind))))
    }

    fn probed(&self, text: String) -> Result<Track, GrammarError> {
        if self.probe.as_ref().is_some_and(|probe| !probe.passes(&text)) {
            return Err(GrammarError::Refused);
        }
        self.compile_text(text)
    }

    fn compile_text(&self, text: String) -> Result<Track, GrammarError> {
        let compile = || {
            let factory = self.factory.get_or_init(|| self.factory()).as_ref()?;
            factory.create_parser(TopLevelGrammar::from_lark(text)).ok()
        };
        let parser = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".to_owned());
            let thread = thread.stack_size(STACK_BYTES);
            // A panic over a schema is that schema's.
            let compile = || catch_unwind(AssertUnwindSafe(compile)).ok().flatten();
            thread.spawn_scoped(scope, compile).ok()?.join().ok()?
        });
        let matcher = Matcher::new(Ok(parser.ok_or(GrammarError::Refused)?));
        let size = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        Ok(Track { matcher, ends: Arc::clone(&self.ends), size })
    }

    fn factory(&self) -> Option<ParserFactory> {
        let ends: Vec<u32> = self.ends.iter().copied().collect();
        let info = TokRxInfo::new(u32::try_from(self.words.len()).ok()?, *ends.first()?);
        let trie = TokTrie::from(&info, &self.words).with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).ok()?;
        factory.quiet().limits_mut().verbose_errors = false;
        Some(factory)
    }
}

impl Guide {
    /// Whether this token may come next.
    pub(crate) fn allows(&mut self, id: u32) -> bool {
        match self {
            Self::Whole(track) => track.allows(id),
            Self::Calls(watch) => watch.allows(id),
        }
    }

    /// Puts every token that may not come next out of reach. `false`: the grammar has failed, or
    /// leaves nothing to say in this vocabulary.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> bool {
        match self {
            Self::Whole(track) => track.mask(logits),
            Self::Calls(watch) => watch.mask(logits),
        }
    }

    /// Goes on behind this token. `false`: the grammar has failed.
    pub(crate) fn take(&mut self, id: u32) -> bool {
        match self {
            Self::Whole(track) => track.take(id),
            Self::Calls(watch) => watch.take(id),
        }
    }
}

impl Track {
    fn allows(&mut self, id: u32) -> bool {
        if self.ends.contains(&id) {
            return self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false);
        }
        id < self.size
            && !self.matcher.is_stopped()
            && self.matcher.validate_tokens(&[id]).is_ok_and(|valid| valid == 1)
    }

    fn mask(&mut self, logits: &mut [f32]) -> bool {
        let Ok(allowed) = self.matcher.compute_mask_or_eos() else { return false };
        let mut left = false;
        for (id, logit) in (0_u32..).zip(logits) {
            if id < self.size && allowed.is_allowed(id) {
                left |= logit.is_finite();
            } else {
                *logit = f32::NEG_INFINITY;
            }
        }
        left
    }

    fn take(&mut self, id: u32) -> bool {
        self.ends.contains(&id) || self.matcher.consume_token(id).is_ok()
    }
}

/// Says what this expression matches, in a vocabulary of an end and these letters.
#[cfg(test)]
pub(crate) fn letter_guide(expression: &str, letters: &[&str]) -> Guide {
    let letters = letters.iter().map(|letter| letter.as_bytes().to_vec());
    let words: Vec<Vec<u8>> = std::iter::once(b"\xff<end>".to_vec()).chain(letters).collect();
    let size = u32::try_from(words.len()).expect("few letters");
    let grammars = Grammars::new(words, Arc::new(BTreeSet::from([0])), None);
    let factory = grammars.factory().expect("a small vocabulary");
    let parser = factory.create_parser(TopLevelGrammar::from_regex(expression));
    let matcher = Matcher::new(parser);
    Guide::Whole(Box::new(Track { matcher, ends: Arc::clone(&grammars.ends), size }))
}

#[cfg(test)]
mod tests;
