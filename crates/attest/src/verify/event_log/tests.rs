//! Replay against a fixed value, each way in which a log is another one, and bytes from anywhere.

use super::*;
use proptest::prelude::*;

const GPUS: GpuPolicy = GpuPolicy { gpu_count: 8, cc_on: true, devtools: false };
const MODELS: [[u8; 32]; 2] = [[2; 32], [1; 32]];

fn log() -> EventLog {
    EventLog::of_worker(&MODELS, GPUS).unwrap()
}

#[test]
fn a_worker_s_log_is_what_it_says() {
    let bytes = log().encode();
    assert_eq!(EventLog::decode(&bytes), Ok(log()));
    assert_eq!(log().check(&MODELS, GPUS), Ok(()));
    // Order and repetition of the models do not matter: they are a set.
    assert_eq!(log().check(&[[1; 32], [2; 32], [1; 32]], GPUS), Ok(()));
    assert_eq!(hex::encode(&log().events()[1].payload), "83080100");
    assert_eq!(log().host_data(), crate::sha256(&[&bytes]));
}

/// Computed once with another program: `sha384(0…0 ‖ digest)`, event by event.
#[test]
fn the_replay_is_pinned() {
    let empty = EventLog::new(Vec::new()).unwrap();
    assert_eq!(empty.rtmr3(), [0; 48]);
    assert_eq!(hex::encode(log().rtmr3()), PINNED);
}

const PINNED: &str = "e04aa84ae40c40d2b2a6d29d4c24a64813a50318345c5cf2\
    5150c4ad0acd15296bf06a9a70dc971ced7a703b34a625be";

#[test]
fn another_log_is_refused_with_its_reason() {
    let check = |change: fn(&mut Vec<Event>)| {
        let mut events = log().events().to_vec();
        change(&mut events);
        EventLog::new(events).unwrap().check(&MODELS, GPUS)
    };
    assert_eq!(check(|_| ()), Ok(()));
    assert_eq!(check(|events| drop(events.pop())), Err(EventLogError::Events));
    assert_eq!(check(|events| events.swap(0, 1)), Err(EventLogError::Events));
    assert_eq!(check(|events| events.push(events[2].clone())), Err(EventLogError::Events));
    assert_eq!(check(|events| events[2].payload.push(0)), Err(EventLogError::Events));
    assert_eq!(check(|events| events[0].name.push('s')), Err(EventLogError::Events));
    assert_eq!(check(|events| events[0].payload.push(0)), Err(EventLogError::Models));
    assert_eq!(check(|events| events[1].payload[3] = 1), Err(EventLogError::Gpus));
    assert_eq!(log().check(&MODELS[..1], GPUS), Err(EventLogError::Models));
    let more = GpuPolicy { gpu_count: 9, ..GPUS };
    assert_eq!(log().check(&MODELS, more), Err(EventLogError::Gpus));
    let open = GpuPolicy { devtools: true, ..GPUS };
    assert_eq!(log().check(&MODELS, open), Err(EventLogError::Gpus));
}

#[test]
fn every_length_has_its_limit() {
    let event =
        |name: usize, payload: usize| Event { name: "n".repeat(name), payload: vec![0; payload] };
    let largest = event(NAME_BYTES_MAX, PAYLOAD_BYTES_MAX);
    for events in [vec![largest.clone(); 62], vec![event(1, 0); EVENTS_MAX]] {
        let log = EventLog::new(events).unwrap();
        assert!(EventLog::decode(&log.encode()) == Ok(log));
    }
    for events in [
        vec![event(NAME_BYTES_MAX + 1, 0)],
        vec![event(1, PAYLOAD_BYTES_MAX + 1)],
        vec![event(1, 0); EVENTS_MAX + 1],
        vec![largest; 63],
    ] {
        assert!(EventLog::new(events.clone()) == Err(EventLogError::TooLarge));
        assert!(EventLog::decode(&EventLog(events).encode()).is_err());
    }
    assert_eq!(EventLog::decode(&[0; LOG_BYTES_MAX + 1]), Err(EventLogError::TooLarge));
    let many: Vec<_> = (0..=64).map(|number| [number; 32]).collect();
    assert_eq!(EventLog::of_worker(&many, GPUS), Err(EventLogError::TooLarge));
    assert!(EventLog::of_worker(&many[1..], GPUS).is_ok());
}

fn events() -> impl Strategy<Value = EventLog> {
    let event = ("[a-z-]{0,64}", prop::collection::vec(any::<u8>(), 0..100));
    let event = event.prop_map(|(name, payload)| Event { name, payload });
    prop::collection::vec(event, 0..6).prop_map(EventLog)
}

proptest! {
    #[test]
    fn what_is_written_is_read(log in events()) {
        prop_assert_eq!(EventLog::decode(&log.encode()), Ok(log));
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(log) = EventLog::decode(&bytes) {
            prop_assert_eq!(log.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_another_log(at in any::<prop::sample::Index>(), bits in 1..=255u8) {
        let mut bytes = log().encode();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(other) = EventLog::decode(&bytes) {
            prop_assert_ne!(other.rtmr3(), log().rtmr3());
            prop_assert_ne!(other.host_data(), log().host_data());
            prop_assert!(other.check(&MODELS, GPUS).is_err());
        }
    }
}
