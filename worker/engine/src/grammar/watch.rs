//! Free text up to a call, and the call by its grammar.
//!
//! A model that may call need not: so nothing holds its text, and only where a call has begun does
//! a grammar say what follows. The text is read by the same [`Splitter`] that takes the answer
//! apart, hence both see a call in the same place: none in a thought, and a call without a marker
//! only where Llama's may stand. Free text costs no grammar's work.
//!
//! Invariant: whatever the splitter makes a call of, the grammar has admitted. A token in which a
//! call begins and goes on as the grammar does not is refused as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use mistralrs::llguidance::Matcher;

use super::Track;
use crate::splitter::{Piece, Splitter};

pub(crate) struct Watch {
    words: Arc<[Vec<u8>]>,
    /// At a call's beginning.
    call: Track,
    /// How text behind a call is read; `None` where nothing may stand there.
    behind: Option<Splitter>,
    place: Place,
}

enum Place {
    Free(Reader),
    Call(Box<Track>),
}

/// The answer's text so far.
#[derive(Clone)]
struct Reader {
    splitter: Splitter,
    /// The beginning of a character.
    unfinished: Vec<u8>,
}

impl Watch {
    pub(super) const fn new(
        words: Arc<[Vec<u8>]>,
        call: Track,
        begin: Splitter,
        behind: Option<Splitter>,
    ) -> Self {
        let place = Place::Free(Reader { splitter: begin, unfinished: Vec::new() });
        Self { words, call, behind, place }
    }

    pub(super) fn allows(&mut self, id: u32) -> bool {
        match &mut self.place {
            Place::Call(track) => track.allows(id),
            Place::Free(reader) => {
                self.call.ends.contains(&id) || step(reader, &self.call, &self.words, id).is_some()
            }
        }
    }

    pub(super) fn mask(&mut self, logits: &mut [f32]) -> bool {
        let reader = match &mut self.place {
            Place::Call(track) => return track.mask(logits),
            Place::Free(reader) => reader,
        };
        let mut left = false;
        for (id, logit) in (0_u32..).zip(logits) {
            let may_come = logit.is_finite()
                && (self.call.ends.contains(&id)
                    || step(reader, &self.call, &self.words, id).is_some());
            if may_come {
                left = true;
            } else {
                *logit = f32::NEG_INFINITY;
            }
        }
        left
    }

    pub(super) fn take(&mut self, id: u32) -> bool {
        match &mut self.place {
            Place::Free(_) if self.call.ends.contains(&id) => true,
            Place::Free(reader) => match step(reader, &self.call, &self.words, id) {
                Some(place) => {
                    self.place = place;
                    true
                }
                None => false,
            },
            Place::Call(track) => {
                if !track.take(id) {
                    return false;
                }
                if let (true, Some(behind)) = (track.is_whole(), &self.behind) {
                    let splitter = behind.clone();
                    self.place = Place::Free(Reader { splitter, unfinished: Vec::new() });
                }
                true
            }
        }
    }
}

/// Where a token leads from free text; `None` where it may not stand.
fn step(reader: &Reader, call: &Track, words: &[Vec<u8>], id: u32) -> Option<Place> {
    let word = words.get(usize::try_from(id).ok()?)?;
    let mut reader = reader.clone();
    let pieces = reader.read(word);
    if pieces.iter().any(|piece| matches!(piece, Piece::Call(_))) {
        // A whole call in one token: no grammar has seen it.
        return None;
    }
    let Some(begun) = reader.splitter.begun_call() else { return Some(Place::Free(reader)) };
    // A call without a marker may have layout in front of it.
    let begun = if reader.splitter.is_bare_call() { begun.trim_start() } else { begun };
    let mut track = call.clone();
    track.take_text(begun).then(|| Place::Call(Box::new(track)))
}

impl Reader {
    fn read(&mut self, word: &[u8]) -> Vec<Piece> {
        if matches!(word, [super::SPECIAL, _, ..]) {
            // A special token has no text.
            return Vec::new();
        }
        self.unfinished.extend_from_slice(word);
        let mut text = String::new();
        let mut rest = 0;
        for chunk in self.unfinished.utf8_chunks() {
            text.push_str(chunk.valid());
            rest += chunk.valid().len();
            let is_last = rest + chunk.invalid().len() == self.unfinished.len();
            // No character has more than four bytes.
            if is_last && chunk.invalid().len() < 4 {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            rest += chunk.invalid().len();
        }
        self.unfinished.drain(..rest);
        self.splitter.push(&text)
    }
}

impl Track {
    /// Goes on behind text, whatever tokens it came in.
    fn take_text(&mut self, text: &str) -> bool {
        let Ok(environment) = self.matcher.tok_env() else { return false };
        let trie = environment.tok_trie();
        let tokens = trie.greedy_tokenize(text.as_bytes());
        // A vocabulary may lack a byte.
        let is_whole = tokens.iter().map(|id| trie.token_len(*id)).sum::<usize>() == text.len();
        is_whole
            && self.matcher.validate_tokens(&tokens).is_ok_and(|valid| valid == tokens.len())
            && self.matcher.consume_tokens(&tokens).is_ok()
    }

    /// Whether nothing more belongs to it.
    fn is_whole(&mut self) -> bool {
        self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false)
    }
}

impl Clone for Track {
    fn clone(&self) -> Self {
        let matcher: Matcher = self.matcher.clone();
        let ends: Arc<BTreeSet<u32>> = Arc::clone(&self.ends);
        Self { matcher, ends, size: self.size }
    }
}
