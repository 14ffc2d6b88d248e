//! The protocol as a whole, from head to last frame.

mod answer;
mod frozen;
mod head;
mod request;

use cocoon_primitives::{Digest, RequestId, Timestamp, WorkerId};

use crate::{
    AnswerHead, AnswerKeys, AnswerSealer, Frame, FrameKind, Head, KeyPair, OpenError, Opened,
    Recipient, SealKeys, SealRandom, open, seal,
};

const NONCE: [u8; 32] = [0x55; 32];

fn head() -> Head {
    Head {
        path: "/v1/chat/completions".to_owned(),
        request_id: RequestId::from_bytes([7; 16]),
        model: "tiny-demo".parse().expect("a model name"),
        is_stream: true,
        max_prompt_tokens: 1000,
        max_tokens: 100,
        max_price: [300, 30, 900],
        not_after: Timestamp::from_millis(1_700_000_300_000),
        pay_commit: [9; 32],
    }
}

/// The worker with this number, its key and its evidence.
struct Worker {
    id: WorkerId,
    key: KeyPair,
    evidence: Digest,
}

impl Worker {
    fn numbered(number: u8) -> Self {
        let id = WorkerId::from_bytes([number; 32]);
        let evidence = Digest::from_bytes([number ^ 0xff; 32]);
        Self { id, key: KeyPair::from_seed(&[number; 32]), evidence }
    }

    fn recipient(&self) -> Recipient {
        let key = self.key.public();
        Recipient { worker_id: self.id, key, evidence_digest: self.evidence }
    }

    fn open(&self, head: &Head, keys: &SealKeys, body: &[u8]) -> Result<Opened, OpenError> {
        open(head, keys, self.id, self.evidence, &self.key, body)
    }
}

fn random() -> SealRandom {
    SealRandom { cek: [0x11; 32], ephemeral: [[0x22; 32], [0x33; 32], [0x44; 32], [0x66; 32]] }
}

fn sealed(body: &[u8], workers: &[Worker]) -> (SealKeys, Vec<u8>, AnswerKeys) {
    let recipients: Vec<Recipient> = workers.iter().map(Worker::recipient).collect();
    seal(&head(), body, &recipients, &random()).expect("a request")
}

/// What one worker would answer with, and what the client opens it with.
fn answering(number: u8) -> (AnswerSealer, AnswerKeys) {
    let workers: Vec<Worker> = (1..=4).map(Worker::numbered).collect();
    let (keys, body, answer_keys) = sealed(b"{}", &workers);
    let worker = Worker::numbered(number);
    let opened = worker.open(&head(), &keys, &body).expect("sealed to this worker");
    (opened.answer.sealer(NONCE), answer_keys)
}

fn answer_head() -> Vec<u8> {
    let content_type = "text/event-stream; charset=utf-8".to_owned();
    AnswerHead { status: 200, content_type, dropped_tools: None }.to_json()
}

/// A whole answer: a head, and a frame for each of `data`, of which the last one is final.
fn payloads(number: u8, data: &[&[u8]]) -> (Vec<Vec<u8>>, AnswerKeys) {
    let (mut sealer, keys) = answering(number);
    let mut payloads = vec![sealer.frame(FrameKind::Head, &answer_head(), false).expect("a head")];
    for (place, bytes) in data.iter().enumerate() {
        let is_final = place + 1 == data.len();
        payloads.push(sealer.frame(FrameKind::Data, bytes, is_final).expect("a frame"));
    }
    (payloads, keys)
}

fn read(keys: &AnswerKeys, wire: &[u8]) -> Result<Vec<Frame>, OpenError> {
    let mut opener = keys.opener();
    opener.push(wire);
    let mut frames = Vec::new();
    while let Some(frame) = opener.next_frame()? {
        frames.push(frame);
    }
    opener.finish().map(|()| frames)
}
