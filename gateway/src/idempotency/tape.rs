//! What is written down of a stream while it is forwarded.
//!
//! Bounds: one answer's length, and the memory of all recordings together. A tape that meets
//! either is blank from then on: the stream goes on, and its answer is not kept.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) const KIB: usize = 1 << 10;
/// A tape grows by so much at least.
const STEP_BYTES: usize = 16 * KIB;

/// The bytes of one answer, and its part of the memory.
#[derive(Debug)]
pub(super) struct Tape {
    bytes: Vec<u8>,
    bytes_max: usize,
    memory: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    is_blank: bool,
}

impl Tape {
    pub(super) fn new(bytes_max: usize, memory: Arc<Semaphore>) -> Self {
        Self { bytes: Vec::new(), bytes_max, memory, held: None, is_blank: false }
    }

    pub(super) fn push(&mut self, part: &[u8]) {
        if self.is_blank {
            return;
        }
        let length = self.bytes.len().saturating_add(part.len());
        if length > self.bytes_max || !self.cover(length) {
            metrics::counter!("cocoon_idempotency_tapes_blanked_total").increment(1);
            self.is_blank = true;
            self.bytes = Vec::new();
            self.held = None;
            return;
        }
        self.bytes.extend_from_slice(part);
    }

    /// Takes what was recorded; `None` where it is not the whole answer. The memory is held until
    /// the tape is dropped.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.is_blank).then(|| Bytes::from(std::mem::take(&mut self.bytes)))
    }

    /// Makes room for so many bytes, within the memory that there is.
    fn cover(&mut self, length: usize) -> bool {
        if length <= self.bytes.capacity() {
            return true;
        }
        // Twofold, so that an answer is moved a few times only.
        let wanted = length.max(self.bytes.capacity().saturating_mul(2)).max(STEP_BYTES);
        let wanted = wanted.min(self.bytes_max);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(missing) = u32::try_from(wanted.div_ceil(KIB).saturating_sub(held)) else {
            return false;
        };
        let Ok(more) = Arc::clone(&self.memory).try_acquire_many_owned(missing) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_holds_an_answer_up_to_its_bound() {
        let memory = Arc::new(Semaphore::new(64));
        let mut tape = Tape::new(40 * KIB, Arc::clone(&memory));
        tape.push(b"data: 1\n\n");
        tape.push(b"data: 2\n\n");
        assert_eq!(memory.available_permits(), 48);
        tape.push(&vec![b'x'; 40 * KIB - tape.bytes.len()]);
        assert_eq!(memory.available_permits(), 24);
        let recorded = tape.take().expect("it is all there");
        assert!(recorded.starts_with(b"data: 1\n\ndata: 2\n\nx") && recorded.len() == 40 * KIB);
        assert_eq!(memory.available_permits(), 24);
        drop(tape);
        assert_eq!(memory.available_permits(), 64);

        let mut tape = Tape::new(40 * KIB, Arc::clone(&memory));
        tape.push(&[b'x'; 40 * KIB]);
        tape.push(b"!");
        assert_eq!(memory.available_permits(), 64);
        tape.push(b"more");
        assert_eq!(tape.take(), None);
    }

    #[test]
    fn a_tape_that_finds_no_memory_is_blank_and_gives_back_what_it_had() {
        let memory = Arc::new(Semaphore::new(20));
        let [mut first, mut second] = [0, 1].map(|_| Tape::new(1 << 20, Arc::clone(&memory)));
        first.push(&[1]);
        second.push(&[2]);
        assert_eq!(second.take(), None);
        first.push(&[1; 17 * KIB]);
        assert_eq!(first.take(), None);
        assert_eq!(memory.available_permits(), 20);
    }
}
