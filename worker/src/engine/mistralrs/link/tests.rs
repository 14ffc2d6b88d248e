//! A child that lies: its link ends, its supervisor does not.

use super::*;

fn ready(protocol: u32, context_length: u32) -> FromEngine {
    FromEngine::Ready(Ready {
        protocol,
        context_length,
        vocab: 10,
        jobs: 1,
        embedding_dimensions: 0,
    })
}

const fn pong(n: u64) -> FromEngine {
    FromEngine::Pong { n, resident_bytes: u64::MAX }
}

/// What the link makes of these messages, after heartbeats 1 and 2 were sent.
async fn verdict(messages: &[FromEngine]) -> &'static str {
    let (link, _frames) = Link::new();
    link.ping(1).await;
    link.ping(2).await;
    let said: Vec<u8> = messages.iter().flat_map(|said| encode(said).unwrap()).collect();
    link.read(said.as_slice()).await
}

#[tokio::test]
async fn what_cannot_be_true_ends_the_link() {
    let honest = "it closed its stdout";
    let unsent = "it answers a heartbeat that was never sent";
    let cases: [(&[FromEngine], &str); 7] = [
        (&[ready(PROTOCOL, 64), pong(1), pong(2)], honest),
        (&[ready(PROTOCOL, 64), pong(2), pong(1)], honest),
        (&[ready(PROTOCOL, 64), pong(3)], unsent),
        (&[ready(PROTOCOL, 64), pong(u64::MAX)], unsent),
        (&[ready(PROTOCOL + 1, 64)], "it speaks another protocol"),
        (&[ready(PROTOCOL, 64), ready(PROTOCOL, 65)], "it was ready twice"),
        (&[ready(PROTOCOL, 0)], "it has no context at all"),
    ];
    for (messages, expected) in cases {
        assert_eq!(verdict(messages).await, expected, "{messages:?}");
    }
}

#[tokio::test]
async fn numbers_of_unknown_jobs_and_of_impossible_size_harm_nobody() {
    let (link, _frames) = Link::new();
    let (sender, mut events) = mpsc::channel(1);
    let (over, _over) = oneshot::channel();
    let slot = Slot { events: sender, _over: over, heard: Instant::now() };
    let id = link.register(slot).unwrap();
    let messages = [
        FromEngine::Started { id: u64::MAX, prompt_tokens: u64::MAX },
        FromEngine::Cancelled { id: 0 },
        FromEngine::Started { id, prompt_tokens: u64::MAX },
        // The reader is behind: what does not fit is dropped, and the job still ends.
        FromEngine::Failed { id, failure: Failure::Engine },
    ];
    let said: Vec<u8> = messages.iter().flat_map(|said| encode(said).unwrap()).collect();
    assert_eq!(link.read(said.as_slice()).await, "it closed its stdout");
    let started = EngineEvent::Started { prompt_tokens: Some(u64::MAX) };
    assert_eq!(events.recv().await, Some(started));
    assert_eq!(events.recv().await, None);
}
