//! Stop texts: cut at the first one, and never let its beginning out.

use std::collections::VecDeque;

/// Passes text on except what may be the beginning of a stop text. Holds back less than the
/// longest stop text.
#[derive(Debug, Default)]
pub struct StopCut {
    stops: Vec<String>,
    held: String,
    stopped: bool,
    /// Bytes from the stop text on.
    cut: usize,
}

impl StopCut {
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false, cut: 0 }
    }

    /// Takes the next piece and returns what may leave. After a stop nothing leaves any more.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            self.cut += piece.len();
            return String::new();
        }
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(start) = first {
            self.stopped = true;
            self.cut = self.held.len() - start;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let behind = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, behind)
    }

    /// What was held back when the text ended without a stop.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    pub const fn stopped(&self) -> bool {
        self.stopped
    }

    /// Bytes at the end of what was pushed that have not left: held back, or cut for good.
    pub const fn behind(&self) -> usize {
        self.held.len() + self.cut
    }
}

/// What comes along with tokens, such as their logarithms, and must not leave before the whole of a
/// token's text, or without it: it would tell a stop text that was cut.
///
/// Places count the bytes of text since the beginning. A token whose text is in part behind a
/// cut never leaves.
#[derive(Debug)]
pub struct Attached<T> {
    /// In the order of the tokens.
    waiting: VecDeque<Entry<T>>,
    end: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    bytes: usize,
    /// Where its text ends; `None` until the text is there.
    end: Option<usize>,
}

impl<T> Default for Attached<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), end: 0 }
    }
}

impl<T> Attached<T> {
    /// A token of so many bytes, whose text follows: by itself, or with that of others.
    pub fn push(&mut self, value: T, bytes: usize) {
        self.waiting.push_back(Entry { value, bytes, end: None });
    }

    /// The text of the tokens that were pushed since the last text. Where they have more bytes,
    /// the rest is still to come; where they have less, nobody knows which token has which text,
    /// and all of them end with all of it.
    pub fn text(&mut self, bytes: usize) {
        let begin = self.end;
        self.end += bytes;
        let wordless = self.waiting.iter_mut().filter(|entry| entry.end.is_none());
        let wordless: Vec<&mut Entry<T>> = wordless.collect();
        let adds_up = wordless.iter().map(|entry| entry.bytes).sum::<usize>() >= bytes;
        let mut place = begin;
        for entry in wordless {
            place = place.saturating_add(entry.bytes);
            entry.end = Some(if adds_up { place } else { self.end });
        }
    }

    /// Where the text ends.
    pub const fn end(&self) -> usize {
        self.end
    }

    /// What leaves when the text up to `place` has left.
    pub fn release(&mut self, place: usize) -> Vec<T> {
        let has_left = |entry: &&Entry<T>| entry.end.is_some_and(|end| end <= place);
        let count = self.waiting.iter().take_while(has_left).count();
        self.waiting.drain(..count).map(|entry| entry.value).collect()
    }

    /// All that is left, when all text has left.
    pub fn finish(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|entry| entry.value).collect()
    }

    /// Forgets what waits: its text is not for the client.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// Bytes at the end of `text` that are a proper beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n]))
        .unwrap_or(0)
}
