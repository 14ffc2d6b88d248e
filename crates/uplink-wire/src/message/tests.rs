//! Every message: its one encoding, and arbitrary bytes.

use cocoon_primitives::RequestId;
use proptest::prelude::*;

use super::*;
use crate::enrol::{GatewayMessage, Hello, Refused, WorkerMessage};
use crate::event::{ACKNOWLEDGED_MAX, EVENT_BYTES_MAX, GatewayEvent, WorkerEvent};
use crate::renew::{RenewalAnswer, RenewalRequest};

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..80)
}

fn worker_message() -> impl Strategy<Value = WorkerMessage> {
    prop_oneof![
        any::<u8>().prop_map(|v| WorkerMessage::Hello(Hello { v })),
        blob().prop_map(WorkerMessage::Evidence)
    ]
}

fn gateway_message() -> impl Strategy<Value = GatewayMessage> {
    prop_oneof![
        blob().prop_map(GatewayMessage::Challenge),
        blob().prop_map(GatewayMessage::Lease),
        (".{0,20}", ".{0,20}")
            .prop_map(|(reason, message)| { GatewayMessage::Refused(Refused { reason, message }) })
    ]
}

fn worker_event() -> impl Strategy<Value = WorkerEvent> {
    prop_oneof![
        any::<(u32, u32, u32, u32)>().prop_map(|(running, waiting, permits, queue)| {
            WorkerEvent::Load { running, waiting, permits, queue }
        }),
        blob().prop_map(WorkerEvent::Receipt),
        Just(WorkerEvent::Draining)
    ]
}

fn reads_back<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = to_cbor(value);
    let read = from_cbor::<T>(&bytes);
    prop_assert_eq!(read.as_ref(), Ok(value));
    let mut longer = bytes.clone();
    longer.push(0);
    prop_assert!(from_cbor::<T>(&longer).is_err());
    prop_assert!(from_cbor::<T>(&bytes[..bytes.len() - 1]).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn messages_read_back(
        worker in worker_message(),
        gateway in gateway_message(),
        event in worker_event(),
        ids in prop::collection::vec(any::<[u8; 16]>(), 0..4),
        nonce: [u8; 32],
        signature: [u8; 64],
        evidence in blob(),
    ) {
        reads_back(&worker)?;
        reads_back(&gateway)?;
        reads_back(&event)?;
        let request_ids = ids.into_iter().map(RequestId::from_bytes).collect();
        reads_back(&GatewayEvent::Ack { request_ids })?;
        reads_back(&RenewalRequest::Light { nonce })?;
        reads_back(&RenewalRequest::Full(evidence.clone()))?;
        reads_back(&RenewalAnswer::Light { signature })?;
        reads_back(&RenewalAnswer::Full(evidence))?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_cbor::<WorkerMessage>(&bytes);
        let _ = from_cbor::<GatewayMessage>(&bytes);
        let _ = from_cbor::<WorkerEvent>(&bytes);
        let _ = from_cbor::<GatewayEvent>(&bytes);
        let _ = from_cbor::<RenewalRequest>(&bytes);
        let _ = from_cbor::<RenewalAnswer>(&bytes);
        let mut decoder = MessageDecoder::new(100);
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message::<WorkerEvent>() {}
    }

    #[test]
    fn a_stream_survives_any_chunking(
        events in prop::collection::vec(worker_event(), 0..8),
        chunk in 1_usize..13,
    ) {
        let wire: Vec<u8> = events.iter().flat_map(encode).collect();
        let mut decoder = MessageDecoder::new(EVENT_BYTES_MAX);
        let mut seen = Vec::new();
        for piece in wire.chunks(chunk) {
            decoder.push(piece);
            while let Some(event) = decoder.next_message::<WorkerEvent>().unwrap() {
                seen.push(event);
            }
        }
        prop_assert_eq!(seen, events);
    }
}

#[test]
fn a_long_message_is_refused_from_its_prefix() {
    let mut decoder = MessageDecoder::new(10);
    decoder.push(&[0, 0, 0, 11]);
    let refused = decoder.next_message::<WorkerEvent>();
    assert_eq!(refused, Err(MessageError::TooLong { bytes: 11, bytes_max: 10 }));
}

#[test]
fn a_long_form_is_not_canonical() {
    // {"hello": {"v": 1}} with the 1 written in two bytes.
    let long = [0xa1, 0x65, b'h', b'e', b'l', b'l', b'o', 0xa1, 0x61, b'v', 0x18, 0x01];
    assert_eq!(from_cbor::<WorkerMessage>(&long), Err(MessageError::NotCanonical));
}

#[test]
fn deep_nesting_is_refused() {
    let deep = vec![0x81; 10_000];
    assert_eq!(from_cbor::<WorkerMessage>(&deep), Err(MessageError::Malformed));
}

#[test]
fn a_full_acknowledgement_fits_its_bound() {
    let request_ids = vec![RequestId::from_bytes([255; 16]); ACKNOWLEDGED_MAX];
    assert!(to_cbor(&GatewayEvent::Ack { request_ids }).len() <= EVENT_BYTES_MAX);
}
