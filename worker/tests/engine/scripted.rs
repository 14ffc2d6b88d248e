use cocoon_worker::engine::{EngineError, EngineEvent, EngineStartError, FinishReason};
use tokio::time::{Duration, Instant};

use crate::support::{ask, job, start, try_start, until};

#[tokio::test]
async fn an_answer_is_known_in_advance() {
    let running = start("kind = 'scripted'\ntokens = 20").await;
    let first = ask(&running.engine, job("one two three")).await;
    let again = ask(&running.engine, job("one two three")).await;
    let other = ask(&running.engine, job("one two four")).await;
    assert_eq!(first.text, again.text);
    assert_ne!(first.text, other.text);
    assert_eq!(first.text.split(' ').count(), 20);
    assert_eq!((first.finish(), first.prompt_tokens), (FinishReason::Stop, Some(6)));
    assert_eq!((first.usage().prompt, first.usage().completion, first.last_count), (6, 20, 20));
    let card = &running.engine.models()[0];
    assert_eq!((card.name.as_str(), card.engine), ("scripted", "scripted"));
}

#[tokio::test]
async fn limits_and_stops_are_kept() {
    let running = start("kind = 'scripted'\ntokens = 20\ncontext_length = 30").await;
    let whole = ask(&running.engine, job("a")).await.text;
    let mut short = job("a");
    short.max_tokens = 5;
    let answer = ask(&running.engine, short).await;
    assert_eq!((answer.finish(), answer.usage().completion), (FinishReason::Length, 5));
    assert!(whole.starts_with(&answer.text));

    let third = whole.split(' ').nth(3).unwrap().to_owned();
    let mut stopped = job("a");
    stopped.stop = vec![third.clone()];
    let answer = ask(&running.engine, stopped).await;
    assert_eq!(answer.finish(), FinishReason::Stop);
    assert!(!answer.text.contains(&third) && whole.starts_with(&answer.text));

    let error = running.engine.generate(job(&"word ".repeat(40))).unwrap_err();
    assert_eq!(error, EngineError::ContextLengthExceeded { prompt: 43, limit: 30 });
    let mut wrong = job("a");
    wrong.sampling.temperature = f32::NAN;
    let error = running.engine.generate(wrong).unwrap_err();
    assert!(
        matches!(error, EngineError::InvalidRequest { ref param, .. } if param.as_deref() == Some("temperature"))
    );
}

#[tokio::test(start_paused = true)]
async fn words_come_at_the_configured_pace() {
    let config = "kind = 'scripted'\ntokens = 11\ninterval_ms = 20\nfirst_token_ms = 300";
    let running = start(config).await;
    let begun = Instant::now();
    ask(&running.engine, job("a")).await;
    assert_eq!(begun.elapsed().as_millis(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_sheds_and_a_job_that_is_dropped_makes_room() {
    let config = "kind = 'scripted'\ninterval_ms = 1000\npermits = 1\nqueue = 1";
    let running = start(config).await;
    let mut working = running.engine.generate(job("a")).unwrap();
    assert!(matches!(working.events.recv().await, Some(EngineEvent::Started { .. })));
    let waiting = running.engine.generate(job("b")).unwrap();
    let error = running.engine.generate(job("c")).unwrap_err();
    assert!(matches!(error, EngineError::Overloaded { .. }) && error.retryable());
    let load = running.engine.load();
    assert_eq!((load.running, load.waiting, load.permits), (1, 1, 1));

    drop(waiting);
    until("the queue is empty", || running.engine.load().waiting == 0).await;
    drop(working);
    until("the engine is idle", || running.engine.load().running == 0).await;
    ask(&running.engine, job("d")).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_too_long_is_shed_and_not_a_fault() {
    let config = "kind = 'scripted'\ninterval_ms = 1000000\npermits = 1\nqueue_timeout_ms = 5000";
    let running = start(config).await;
    let _working = running.engine.generate(job("a")).unwrap();
    let begun = Instant::now();
    let mut waiting = running.engine.generate(job("b")).unwrap();
    let event = waiting.events.recv().await;
    let shed = EngineError::Overloaded { retry_after_ms: 5000 };
    assert_eq!(event, Some(EngineEvent::Failed(shed)));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_usual_wait_is_far_below_a_gateways_patience() {
    let running = start("kind = 'scripted'\ninterval_ms = 1000000\npermits = 1").await;
    let _working = running.engine.generate(job("a")).unwrap();
    let begun = Instant::now();
    let mut waiting = running.engine.generate(job("b")).unwrap();
    let event = waiting.events.recv().await;
    assert!(matches!(event, Some(EngineEvent::Failed(EngineError::Overloaded { .. }))));
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    // A wait that a gateway would take for a fault cannot be configured.
    let long = try_start("kind = 'scripted'\nqueue_timeout_ms = 60000").await;
    assert!(matches!(long.err(), Some(EngineStartError::Config(_))));
}
