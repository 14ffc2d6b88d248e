//! The server's embeddings as vectors of unit length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::answer::WireUsage;

/// Numbers in one vector.
const DIMENSIONS_MAX: usize = 65_536;

/// What one request gave: the vectors in order of their inputs, and the tokens that it took.
#[derive(Debug, PartialEq)]
pub(super) struct Vectors {
    pub(super) vectors: Vec<Vec<f32>>,
    pub(super) prompt_tokens: u64,
}

impl Vectors {
    /// `None` where the body is not the embeddings of so many inputs.
    pub(super) fn read(body: &[u8], inputs: usize) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(body).ok()?;
        let mut vectors = vec![Vec::new(); inputs];
        for (place, entry) in wire.data.into_iter().enumerate() {
            let slot = vectors.get_mut(entry.index.unwrap_or(place))?;
            *slot = unit(entry.embedding.numbers()?)?;
        }
        let dimensions = vectors.first()?.len();
        let are_alike = vectors.iter().all(|vector| vector.len() == dimensions);
        (are_alike && (1..=DIMENSIONS_MAX).contains(&dimensions))
            .then_some(Self { vectors, prompt_tokens: wire.usage.prompt_tokens })
    }
}

/// `None` for a vector without a direction.
fn unit(mut numbers: Vec<f32>) -> Option<Vec<f32>> {
    let greatest = numbers.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
    if !numbers.iter().all(|x| x.is_finite()) || greatest == 0.0 {
        return None;
    }
    // The squares of large numbers are beyond what 32 bits hold.
    for x in &mut numbers {
        *x /= greatest;
    }
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    Some(numbers.into_iter().map(|x| x / length).collect())
}

#[derive(Deserialize)]
struct Wire {
    data: Vec<Entry>,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Entry {
    index: Option<usize>,
    embedding: Written,
}

/// Numbers, or base64 of little-endian 32-bit floats.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Numbers(Vec<f32>),
    Base64(String),
}

impl Written {
    fn numbers(self) -> Option<Vec<f32>> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Base64(text) => {
                let bytes = STANDARD.decode(text).ok()?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                rest.is_empty().then(|| numbers.iter().map(|x| f32::from_le_bytes(*x)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: &serde_json::Value, inputs: usize) -> Option<Vectors> {
        Vectors::read(body.to_string().as_bytes(), inputs)
    }

    #[test]
    fn both_forms_in_any_order_get_unit_length() {
        let base64 = STANDARD.encode([3.0_f32, 4.0].map(f32::to_le_bytes).concat());
        let body = json!({"data": [{"index": 1, "embedding": base64}, {"index": 0, "embedding": [0, 2.0]}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7}});
        let expected = Vectors { vectors: vec![vec![0.0, 1.0], vec![0.6, 0.8]], prompt_tokens: 7 };
        assert_eq!(read(&body, 2), Some(expected));
    }

    #[test]
    fn what_is_no_answer_to_the_inputs_is_refused() {
        let one = |embedding| json!({"data": [{"index": 0, "embedding": embedding}]});
        assert!(read(&one(json!([1.0])), 1).is_some());
        for (body, inputs) in [
            (one(json!([1.0])), 2),
            (one(json!([])), 1),
            (one(json!([0.0, 0.0])), 1),
            (one(json!([1e39])), 1),
            (one(json!("AAA")), 1),
            (one(json!("AAAAAAA=")), 1),
            (one(json!(null)), 1),
            (json!({"data": [{"index": 5, "embedding": [1.0]}]}), 1),
            (json!({"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}), 2),
            (json!({"error": {"message": "no"}}), 1),
        ] {
            assert_eq!(read(&body, inputs), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>(), text in r#"\{"data":\[[\{\}\[\]":,a-z0-9. ]{0,80}"#) {
            drop(Vectors::read(&bytes, 2));
            drop(Vectors::read(text.as_bytes(), 2));
        }

        #[test]
        fn lengths_are_one(numbers in prop::collection::vec(-1e30_f32..1e30, 1..64)) {
            if let Some(vectors) = read(&json!({"data": [{"embedding": numbers}]}), 1) {
                let length: f32 = vectors.vectors[0].iter().map(|x| x * x).sum();
                prop_assert!((length - 1.0).abs() < 1e-4);
            }
        }
    }
}
