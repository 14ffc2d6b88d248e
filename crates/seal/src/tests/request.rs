use proptest::prelude::*;

use super::*;
use crate::{BODY_BYTES_MAX, RECIPIENTS_MAX, SealError, Wrapped};

fn refusal(opened: Result<Opened, OpenError>) -> Option<OpenError> {
    opened.err()
}

#[test]
fn every_recipient_reads_the_body() {
    for count in 1..=4 {
        let workers: Vec<Worker> = (1..=count).map(Worker::numbered).collect();
        let (keys, body, _) = sealed(b"hello", &workers);
        let keys: SealKeys = keys.to_string().parse().expect("a header");
        let mut salts = Vec::new();
        for worker in &workers {
            let opened = worker.open(&head(), &keys, &body).expect("sealed to it");
            assert_eq!(opened.body.as_slice(), b"hello");
            salts.push(opened.params_salt);
        }
        salts.sort_unstable();
        salts.dedup();
        assert_eq!(salts.len(), workers.len());
    }
}

#[test]
fn every_field_of_the_head_is_bound() {
    let worker = Worker::numbered(1);
    let (keys, body, _) = sealed(b"hello", &[Worker::numbered(1)]);
    let changes: [fn(&mut Head); 9] = [
        |head| head.path = "/v1/completions".to_owned(),
        |head| head.request_id = RequestId::from_bytes([8; 16]),
        |head| head.model = "tiny-demo2".parse().unwrap(),
        |head| head.is_stream = false,
        |head| head.max_prompt_tokens += 1,
        |head| head.max_tokens += 1,
        |head| head.max_price[2] += 1,
        |head| head.not_after = Timestamp::from_millis(head.not_after.as_millis() + 1),
        |head| head.pay_commit[31] ^= 1,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut changed = head();
        change(&mut changed);
        assert_ne!(changed.aad(), head().aad(), "{place}");
        let opened = worker.open(&changed, &keys, &body);
        assert_eq!(refusal(opened), Some(OpenError::Key), "{place}");
    }
}

#[test]
fn another_worker_other_evidence_and_another_key_open_nothing() {
    let workers = [Worker::numbered(1), Worker::numbered(2)];
    let (keys, body, _) = sealed(b"hello", &workers);
    let stranger = Worker::numbered(3);
    assert_eq!(refusal(stranger.open(&head(), &keys, &body)), Some(OpenError::Recipient));
    let [first, second] = workers;
    let other_evidence =
        open(&head(), &keys, first.id, Digest::from_bytes([0; 32]), &first.key, &body);
    assert_eq!(refusal(other_evidence), Some(OpenError::Key));
    let other_key = open(&head(), &keys, first.id, first.evidence, &second.key, &body);
    assert_eq!(refusal(other_key), Some(OpenError::Key));
    // The entry of one worker under the name of the other.
    let [one, two] = keys.entries() else { panic!("two entries") };
    let swapped = vec![
        Wrapped { worker_id: one.worker_id, ..two.clone() },
        Wrapped { worker_id: two.worker_id, ..one.clone() },
    ];
    let swapped = SealKeys::new(swapped).unwrap();
    assert_eq!(refusal(first.open(&head(), &swapped, &body)), Some(OpenError::Key));
}

#[test]
fn a_body_that_was_changed_does_not_open() {
    let worker = Worker::numbered(1);
    let (keys, body, _) = sealed(b"hello", &[Worker::numbered(1)]);
    for place in 0..body.len() {
        let mut changed = body.clone();
        changed[place] ^= 1;
        assert_eq!(refusal(worker.open(&head(), &keys, &changed)), Some(OpenError::Body));
    }
    let longer = [body.as_slice(), &[0]].concat();
    for changed in [&[], &body[..15], &body[..body.len() - 1], &longer] {
        assert_eq!(refusal(worker.open(&head(), &keys, changed)), Some(OpenError::Body));
    }
}

#[test]
fn a_wrapped_key_that_was_changed_does_not_open() {
    let worker = Worker::numbered(1);
    let (keys, body, _) = sealed(b"hello", &[Worker::numbered(1)]);
    let entry = &keys.entries()[0];
    for place in 0..80 {
        let mut changed = entry.clone();
        match place {
            0..32 => changed.enc[place] ^= 1,
            _ => changed.wrapped[place - 32] ^= 1,
        }
        let changed = SealKeys::new(vec![changed]).unwrap();
        assert_eq!(refusal(worker.open(&head(), &changed, &body)), Some(OpenError::Key));
    }
    // A point of small order gives no secret.
    let weak = SealKeys::new(vec![Wrapped { enc: [0; 32], ..entry.clone() }]).unwrap();
    assert_eq!(refusal(worker.open(&head(), &weak, &body)), Some(OpenError::Key));
}

#[test]
fn what_cannot_be_sealed_is_said() {
    let error = |body: &[u8], recipients: &[Recipient]| {
        seal(&head(), body, recipients, &random()).err().expect("refused")
    };
    let one = Worker::numbered(1).recipient();
    assert_eq!(error(b"", &[]), SealError::Recipients);
    assert_eq!(error(b"", &[one.clone(), one.clone()]), SealError::Recipients);
    let five: Vec<_> = (1..=5).map(|number| Worker::numbered(number).recipient()).collect();
    assert_eq!(error(b"", &five), SealError::Recipients);
    let weak = Recipient { key: [0; 32], ..Worker::numbered(2).recipient() };
    assert_eq!(error(b"", &[one.clone(), weak]), SealError::Key(1));
    assert_eq!(error(&vec![0; BODY_BYTES_MAX + 1], &[one]), SealError::TooLong);
}

#[test]
fn a_length_shows_only_its_bucket() {
    let sealed_bytes = |bytes: usize| sealed(&vec![b'a'; bytes], &[Worker::numbered(1)]).1.len();
    for bytes in [0, 1, 100, 252] {
        assert_eq!(sealed_bytes(bytes), 256 + 16);
    }
    assert_eq!(sealed_bytes(253), 512 + 16);
    assert_eq!(sealed_bytes(98_301), sealed_bytes(100_348));
    assert_ne!(sealed_bytes(100_348), sealed_bytes(100_349));
}

#[test]
fn the_header_has_one_form() {
    let workers: Vec<Worker> = (1..=4).map(Worker::numbered).collect();
    let text = sealed(b"", &workers).0.to_string();
    assert_eq!(text.len(), 4 * 177 + 3);
    let one = text.split(',').next().unwrap();
    let bad = [
        String::new(),
        ",".to_owned(),
        format!("{text},"),
        format!("{text},{one}"),
        format!("{one},{one}"),
        one.replace(':', ";"),
        format!("{one}:"),
        format!("{one}="),
        one.replace("wrk_01", "wrk_0"),
        one[..one.len() - 1].to_owned(),
        sealed(b"", &[Worker::numbered(0xab)]).0.to_string().replacen("ab", "AB", 1),
    ];
    for text in bad {
        assert_eq!(text.parse::<SealKeys>().err(), Some(OpenError::SealKeys), "{text}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let key = KeyPair::from_seed(&[3; 32]);
    assert_eq!(format!("{key:?}"), format!("KeyPair({}, …)", hex::encode(key.public())));
    let (sent, keys) = payloads(1, &[b"secret"]);
    let frames = read(&keys, &sent.concat()).unwrap();
    assert!(!format!("{frames:?}").contains("115"), "the bytes of the text are not shown");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_body_survives(body in prop::collection::vec(any::<u8>(), 0..5000)) {
        let (keys, sealed, _) = sealed(&body, &[Worker::numbered(1)]);
        prop_assert!((sealed.len() - 16).is_multiple_of(256));
        let opened = Worker::numbered(1).open(&head(), &keys, &sealed);
        prop_assert_eq!(opened.ok().map(|opened| opened.body.to_vec()), Some(body));
    }

    #[test]
    fn arbitrary_bytes_open_nothing(
        (enc, wrapped) in (any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 48)),
        body in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let worker = Worker::numbered(1);
        let wrapped = wrapped.try_into().unwrap();
        let entry = Wrapped { worker_id: worker.id, enc, wrapped };
        let keys = SealKeys::new(vec![entry]).unwrap();
        prop_assert_eq!(refusal(worker.open(&head(), &keys, &body)), Some(OpenError::Key));
        // Even where the key opens.
        let (keys, ..) = sealed(b"", &[Worker::numbered(1)]);
        prop_assert_eq!(refusal(worker.open(&head(), &keys, &body)), Some(OpenError::Body));
    }

    #[test]
    fn no_header_panics(text in "(wrk_)?[0-9a-fA-F:,_=-]{0,200}", any in ".{0,100}") {
        for text in [text, any] {
            if let Ok(keys) = text.parse::<SealKeys>() {
                prop_assert!(keys.entries().len() <= RECIPIENTS_MAX);
            }
        }
    }
}
