//! Stop texts: cut at the first one, and never let its beginning out.

/// Passes text on except what may be the beginning of a stop text. Holds back less than the
/// longest stop text.
#[derive(Debug, Default)]
pub struct StopCut {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopCut {
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes the next piece and returns what may leave. After a stop nothing leaves any more.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(start) = first {
            self.stopped = true;
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

    /// Whether text is held back: it left the model and not yet us.
    pub fn holds_text(&self) -> bool {
        !self.held.is_empty()
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
