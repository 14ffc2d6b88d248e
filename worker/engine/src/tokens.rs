//! Token ids back to text: whole characters only, special tokens dropped, markers kept.

use std::collections::HashMap;

use cocoon_engine_wire::{TokenLogprob, TopLogprob};
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::tokenizer::step_decode_stream;

use crate::sampler::Sampled;

/// Texts that structure an answer. Where one is a token of its own it comes out as text even if
/// the tokenizer calls it special.
pub(crate) const MARKERS: [&str; 6] =
    ["<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>"];

/// Stands before a special token's name in [`Vocabulary::words`]: no text has this byte.
pub(crate) const SPECIAL: u8 = 0xff;

/// The least logarithm that is reported: a masked token has no finite one.
const LOGPROB_MIN: f32 = -9999.0;

pub(crate) struct Vocabulary {
    tokenizer: Tokenizer,
    markers: HashMap<u32, &'static str>,
    /// Tokens beside the vocabulary proper: written as they are, and whether they are special.
    added: HashMap<u32, (String, bool)>,
    /// How a byte-level vocabulary writes bytes; `None` where tokens are plain text.
    bytes: Option<HashMap<char, u8>>,
}

/// The text of one answer so far.
pub(crate) struct Detokeniser<'v> {
    vocabulary: &'v Vocabulary,
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl Vocabulary {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        let markers = MARKERS.iter().filter_map(|text| Some((tokenizer.token_to_id(text)?, *text)));
        let byte_level = match tokenizer.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => true,
            Some(DecoderWrapper::Sequence(parts)) => {
                parts.get_decoders().iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_)))
            }
            _ => false,
        };
        let added = tokenizer.get_added_tokens_decoder().into_iter();
        let added = added.map(|(id, token)| (id, (token.content, token.special)));
        Self {
            markers: markers.collect(),
            added: added.collect(),
            bytes: byte_level.then(byte_alphabet),
            tokenizer,
        }
    }

    /// The prompt's ids. The template has written the special tokens already.
    pub(crate) fn encode(&self, text: &str) -> Option<Vec<u32>> {
        Some(self.tokenizer.encode_fast(text, false).ok()?.get_ids().to_vec())
    }

    /// The ids of text that no template wrote: with what the tokenizer itself puts around it.
    pub(crate) fn encode_plain(&self, text: &str) -> Option<Vec<u32>> {
        Some(self.tokenizer.encode_fast(text, true).ok()?.get_ids().to_vec())
    }

    /// The bytes that each of the first `size` tokens stands for, as a grammar reads them. Special
    /// tokens that are no markers begin with [`SPECIAL`].
    pub(crate) fn words(&self, size: u32) -> Vec<Vec<u8>> {
        let word = |id: u32| {
            let bytes = self.bytes(id);
            if self.is_silent(id) { [&[SPECIAL], bytes.as_slice()].concat() } else { bytes }
        };
        (0..size).map(word).collect()
    }

    /// Whether an answer's text has nothing of this token.
    pub(crate) fn is_silent(&self, id: u32) -> bool {
        let is_special = self.added.get(&id).is_some_and(|(_, is_special)| *is_special);
        is_special && !self.markers.contains_key(&id)
    }

    pub(crate) fn detokeniser(&self) -> Detokeniser<'_> {
        Detokeniser { vocabulary: self, ids: Vec::new(), prefix: String::new(), prefix_index: 0 }
    }

    /// The bytes of one token; they need not be whole characters.
    fn bytes(&self, id: u32) -> Vec<u8> {
        if let Some((text, _)) = self.added.get(&id) {
            return text.clone().into_bytes();
        }
        let Some(token) = self.tokenizer.id_to_token(id) else { return Vec::new() };
        let fallback = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        if let Some(byte) = fallback.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            return vec![byte];
        }
        let mapped = self.bytes.as_ref().and_then(|map| {
            token.chars().map(|character| map.get(&character).copied()).collect::<Option<Vec<u8>>>()
        });
        mapped.unwrap_or_else(|| token.replace('\u{2581}', " ").into_bytes())
    }

    pub(crate) fn logprob(&self, sampled: &Sampled) -> TokenLogprob {
        let top = sampled.top.iter().map(|(id, logprob)| {
            let bytes = self.bytes(*id);
            TopLogprob { token: text(&bytes), bytes, logprob: logprob.max(LOGPROB_MIN) }
        });
        let bytes = self.bytes(sampled.id);
        TokenLogprob {
            token: text(&bytes),
            bytes,
            logprob: sampled.logprob.max(LOGPROB_MIN),
            top: top.collect(),
        }
    }
}

impl Detokeniser<'_> {
    /// The text that this token completes; empty while a character is unfinished.
    pub(crate) fn push(&mut self, id: u32) -> String {
        if let Some(marker) = self.vocabulary.markers.get(&id) {
            *self = self.vocabulary.detokeniser();
            return (*marker).to_owned();
        }
        let step = step_decode_stream(
            &self.vocabulary.tokenizer,
            vec![id],
            true,
            &mut self.ids,
            &mut self.prefix,
            &mut self.prefix_index,
        );
        match step {
            Ok(text) => text.unwrap_or_default(),
            Err(_) => {
                // The decoder contradicts what it said before: begin anew with this token.
                *self = self.vocabulary.detokeniser();
                self.vocabulary.tokenizer.decode(&[id], true).unwrap_or_default()
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// GPT-2's printable alphabet for bytes: printable Latin-1 stands for itself, the rest is moved
/// behind U+0100 in order.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut moved = 0x100_u32;
    (0..=u8::MAX)
        .map(|byte| {
            let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
            let character = if printable {
                char::from(byte)
            } else {
                moved += 1;
                char::from_u32(moved - 1).expect("U+0100 to U+0144 are characters")
            };
            (character, byte)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_covers_every_byte() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet.get(&'\u{120}'), Some(&b' '));
        assert_eq!(alphabet.get(&'\u{10a}'), Some(&b'\n'));
        assert_eq!(alphabet.get(&'a'), Some(&b'a'));
    }

    #[test]
    fn words_are_what_the_tokens_stand_for() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny-demo/tokenizer.json");
        let vocabulary = Vocabulary::new(Tokenizer::from_file(path).unwrap());
        let size = u32::try_from(vocabulary.tokenizer.get_vocab_size(true)).unwrap();
        let words = vocabulary.words(size + 1);
        assert_eq!(words[1], b"\xff<|im_start|>");
        assert_eq!(
            (words[3].as_slice(), words[6].as_slice()),
            (&b"<think>"[..], &b"</tool_call>"[..])
        );
        assert_eq!(words.last(), Some(&Vec::new()));
        let text = "Repeat: 東京 🙂 café\n\t{\"a\": [1, 2]} <tool_call>";
        let ids = vocabulary.encode(text).unwrap();
        let bytes: Vec<u8> =
            ids.iter().flat_map(|id| words[usize::try_from(*id).unwrap()].clone()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        // Every byte has a token, so a grammar can always go on.
        for byte in 0..=u8::MAX {
            assert!(words.contains(&vec![byte]), "{byte}");
        }
    }
}
