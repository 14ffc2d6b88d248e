//! The event stream: encoding, keep-alive comments, and an incremental decoder.
//!
//! The decoder follows the HTML standard's "Interpreting an event stream": lines end in LF, CR or
//! CRLF, one space after the colon is dropped, comments are skipped, an event without data is
//! none, and what stands unfinished at the end of the stream is discarded. Stricter than the
//! standard in two points: text that is not UTF-8 and events beyond the bound are errors.

use memchr::memchr2;

/// The last event of every stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Appends one event whose data is `json`: text without line breaks, as serialisers make it.
pub fn encode(out: &mut Vec<u8>, json: &[u8]) {
    debug_assert!(memchr2(b'\n', b'\r', json).is_none(), "an event's data is one line");
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// A comment: clients skip it, and their read timeouts start anew. Line breaks become spaces.
pub fn comment(text: &str) -> Vec<u8> {
    format!(": {}\n\n", text.replace(['\r', '\n'], " ")).into_bytes()
}

/// One event as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The `event` field, where there is one.
    pub name: Option<String>,
    /// The `data` lines, joined by LF.
    pub data: String,
}

impl Event {
    pub fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }
}

/// Bytes that no event stream of the expected kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    #[error("event exceeds {0} bytes")]
    TooLarge(usize),
    #[error("event is not valid UTF-8")]
    NotUtf8,
}

/// Turns bytes, split anywhere, into events. After an error it yields nothing more.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already read.
    start: usize,
    /// Bytes of `buffer` after `start` known to hold no line end.
    scanned: usize,
    /// The last line ended in CR at the buffer's end: a LF that follows belongs to it.
    after_cr: bool,
    at_stream_start: bool,
    name: Option<String>,
    data: String,
    has_data: bool,
    event_bytes_max: usize,
    failed: Option<SseError>,
}

impl Decoder {
    /// A decoder for events of at most `event_bytes_max` bytes, names and data together.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            after_cr: false,
            at_stream_start: true,
            name: None,
            data: String::new(),
            has_data: false,
            event_bytes_max,
            failed: None,
        }
    }

    /// Adds bytes. Call [`Decoder::next_event`] until it has none before adding more: then the
    /// buffer never holds more than one event and one piece.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Result<Option<Event>, SseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.read();
        if let Err(error) = result {
            self.failed = Some(error);
            self.buffer = Vec::new();
            self.start = 0;
            self.scanned = 0;
        }
        result
    }

    fn read(&mut self) -> Result<Option<Event>, SseError> {
        while let Some((from, to)) = self.next_line()? {
            let line =
                std::str::from_utf8(&self.buffer[from..to]).map_err(|_| SseError::NotUtf8)?;
            let line = if self.at_stream_start {
                self.at_stream_start = false;
                line.strip_prefix('\u{feff}').unwrap_or(line)
            } else {
                line
            };
            if line.is_empty() {
                let name = self.name.take();
                let data = std::mem::take(&mut self.data);
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some(Event { name, data }));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                "event" => self.name = Some(value.to_owned()),
                _ => {}
            }
            let held = self.data.len() + self.name.as_ref().map_or(0, String::len);
            if held > self.event_bytes_max {
                return Err(SseError::TooLarge(self.event_bytes_max));
            }
        }
        Ok(None)
    }

    /// The place in the buffer of the next complete line, without its end.
    fn next_line(&mut self) -> Result<Option<(usize, usize)>, SseError> {
        if self.after_cr && self.start < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.start] == b'\n' {
                self.start += 1;
            }
        }
        let from = self.start;
        let Some(length) = memchr2(b'\n', b'\r', &self.buffer[from + self.scanned..]) else {
            self.scanned = self.buffer.len() - from;
            // "event: " and "data: " stand in front of what is bounded.
            if self.scanned > self.event_bytes_max.saturating_add(16) {
                return Err(SseError::TooLarge(self.event_bytes_max));
            }
            return Ok(None);
        };
        let to = from + self.scanned + length;
        self.scanned = 0;
        self.after_cr = self.buffer[to] == b'\r';
        self.start = to + 1;
        Ok(Some((from, to)))
    }
}
