//! What clients, engines and workers write.

use cocoon_engine_wire::ToEngine;
use cocoon_seal::{SealRandom, seal};
use cocoon_uplink_wire::enrol::{GatewayMessage, Hello, Refused, WorkerMessage};
use cocoon_uplink_wire::event::WorkerEvent;
use cocoon_uplink_wire::message::to_cbor;
use cocoon_uplink_wire::renew::RenewalAnswer;
use cocoon_uplink_wire::{FrameKind, encode_frame};

use crate::targets::{HEAD, read_head, recipient};

const CHAT: &str = r#"{"model":"model","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"stream":true,"max_completion_tokens":4,"n":2,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}"#;
const RESPONSES: &str = r#"{"model":"model","input":[{"type":"message","role":"user","content":"a"}],"max_output_tokens":4,"stream":false}"#;
const COMPLETIONS: &str = r#"{"model":"model","prompt":["a","b"],"max_tokens":4,"best_of":2}"#;
const EMBEDDINGS: &str = r#"{"model":"model","input":["a",[1,2]],"encoding_format":"base64"}"#;
const PROOF: &str = r#"{"attempt":"a","address":"0:0000000000000000000000000000000000000000000000000000000000000000","network":"-3","publicKey":"0000000000000000000000000000000000000000000000000000000000000000","walletStateInit":"","proof":{"timestamp":1,"domain":{"lengthBytes":1,"value":"a"},"payload":"p","signature":"AA=="}}"#;
const SIGNATURES: &str = r#"{"signatures":[{"key":"0101010101010101010101010101010101010101010101010101010101010101","signature":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}]}"#;
const POLICY: &str = "schema = 1\nversion = 1\nnot_after = \"2049-12-31T00:00:00Z\"\nmode = \"production\"\nlease_seconds = 600\n[tdx]\ntcb_status = [\"UpToDate\"]\n[[model]]\nname = \"model\"\nmanifest = \"sha256:00\"\n";

pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for text in [CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS] {
        seeds.push(("openai_peek", text.into()));
        seeds.push(("openai_requests", text.into()));
    }
    for (name, text) in [
        (
            "openai_events",
            "\u{4}data: {\"a\":1}\n\n: comment\n\nevent: e\r\ndata: b\ndata: c\n\ndata: [DONE]\n\n",
        ),
        ("nvidia_evidence", r#"[{"evidence":"AA==","certificate":"AA==","nonce":"00"}]"#),
        ("nvidia_golden", r#"{"measurements":{"1":["00ff"],"35":["aa","bb"]}}"#),
        ("ton_proof", PROOF),
        ("policy_signatures", SIGNATURES),
        ("policy", POLICY),
        ("seal_head", HEAD),
    ] {
        seeds.push((name, text.into()));
    }
    seeds.extend(uplink());
    seeds.extend(sealed());
    let job = cocoon_engine_wire::encode(&ToEngine::Cancel { id: 1 });
    seeds.push(("engine_messages", job.expect("a short message")));
    seeds
}

fn uplink() -> Vec<(&'static str, Vec<u8>)> {
    let frames = [
        encode_frame(FrameKind::Data, 1, b"data: {}\n\n"),
        encode_frame(FrameKind::Heartbeat, 1, b""),
        encode_frame(FrameKind::Receipt, 2, b"receipt"),
    ];
    let refused = Refused { reason: "wrong_nonce".to_owned(), message: "another".to_owned() };
    vec![
        ("uplink_frames", [&[6][..], &frames.concat()].concat()),
        ("uplink_messages", to_cbor(&WorkerMessage::Hello(Hello { v: 1 }))),
        ("uplink_messages", to_cbor(&GatewayMessage::Refused(refused))),
        ("uplink_messages", to_cbor(&RenewalAnswer::Light { signature: [1; 64] })),
        ("uplink_messages", to_cbor(&WorkerEvent::Receipt(vec![1, 2, 3]))),
    ]
}

fn sealed() -> Vec<(&'static str, Vec<u8>)> {
    let random = SealRandom { cek: [7; 32], ephemeral: [[8; 32]; 4] };
    let (key, recipient) = recipient();
    let head = read_head(HEAD).expect("the fixed head is a head");
    let (keys, body, _) =
        seal(&head, b"{}", std::slice::from_ref(&recipient), &random).expect("a short body");
    let opened = cocoon_seal::open(
        &head,
        &keys,
        recipient.worker_id,
        recipient.evidence_digest,
        &key,
        &body,
    );
    let opened = opened.unwrap_or_else(|error| panic!("it was just sealed: {error}"));
    let mut sealer = opened.answer.sealer([9; 32]);
    let mut answer = sealer
        .frame(cocoon_seal::FrameKind::Head, br#"{"status":200}"#, false)
        .expect("a short frame")
        .to_vec();
    let data = sealer.frame(cocoon_seal::FrameKind::Data, b"data: {}\n\n", true);
    answer.extend_from_slice(&data.expect("a short frame"));
    let keys = keys.to_string();
    let part = |text: &str| {
        let length = u16::try_from(text.len()).expect("a short text");
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    vec![
        ("seal_keys", keys.clone().into_bytes()),
        ("seal_body", [part(HEAD), part(&keys), body].concat()),
        ("seal_answer", answer),
    ]
}
