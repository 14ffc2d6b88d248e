use cocoon_worker::engine::{
    EmbedInput, EngineError, EngineEvent, EngineStartError, FinishReason, Input, Job, Reasoning,
    ToolChoice,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::support::{ask, chat, job, start, try_start, until};

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

#[tokio::test]
async fn plain_prompts_are_read_as_they_are() {
    let running = start("kind = 'scripted'\ntokens = 4").await;
    let text = Job { input: Input::Text("one two three".to_owned()), ..job("") };
    let answer = ask(&running.engine, text).await;
    assert_eq!((answer.usage().prompt, answer.text.split(' ').count()), (3, 4));
    let ids = Job { input: Input::Tokens(vec![1, 2]), ..job("") };
    let answer = ask(&running.engine, ids).await;
    assert_eq!((answer.usage().prompt, answer.usage().completion), (2, 4));
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

#[tokio::test]
async fn tools_are_called_when_they_must_or_may() {
    let running = start("kind = 'scripted'\ntokens = 3\ncalls = 3").await;
    let plain = start("kind = 'scripted'\ntokens = 3").await;
    let user = json!({"role": "user", "content": "hi"});
    let with = |choice| Job {
        tool_choice: choice,
        ..chat(vec![user.clone()], vec![tool("f"), tool("g")])
    };
    let names = |answer: &crate::support::Answer| -> Vec<String> {
        answer.calls.iter().map(|(name, _)| name.clone()).collect()
    };
    let answer = ask(&running.engine, with(ToolChoice::Auto)).await;
    assert_eq!(
        (names(&answer), answer.finish()),
        (vec!["f".into(), "g".into(), "f".into()], FinishReason::ToolCalls)
    );
    assert_eq!((answer.text.as_str(), answer.usage().completion), ("", 12));
    assert_eq!(answer.calls[0].1, "{\"word\":\"amber\"}");
    let one = Job { parallel_tool_calls: false, ..with(ToolChoice::Required) };
    assert_eq!(names(&ask(&running.engine, one).await), ["f"]);
    let named = with(ToolChoice::Named("g".to_owned()));
    assert_eq!(names(&ask(&plain.engine, named).await), ["g"]);
    for (running, job) in [(&plain, with(ToolChoice::Auto)), (&running, with(ToolChoice::None))] {
        let answer = ask(&running.engine, job).await;
        assert_eq!((answer.calls.len(), answer.finish()), (0, FinishReason::Stop));
    }
    // A tool's result is answered in words.
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "7"});
    let answer = ask(&running.engine, chat(vec![user.clone(), result], vec![tool("f")])).await;
    assert_eq!((answer.calls.len(), answer.usage().completion), (0, 3));
    let absent = with(ToolChoice::Named("h".to_owned()));
    let none = Job { tool_choice: ToolChoice::Required, ..job("hi") };
    for job in [absent, none] {
        let error = running.engine.generate(job).expect_err("nothing to call");
        assert!(
            matches!(error, EngineError::InvalidRequest { param: Some(param), .. } if param == "tool_choice")
        );
    }
    let cut = Job { max_tokens: 7, ..with(ToolChoice::Auto) };
    let answer = ask(&running.engine, cut).await;
    assert_eq!(
        (answer.calls.len(), answer.finish(), answer.usage().completion),
        (1, FinishReason::Length, 7)
    );
}

#[tokio::test]
async fn thoughts_and_logarithms_come_where_they_are_wanted() {
    let running = start("kind = 'scripted'\ntokens = 4\nthoughts = 2").await;
    let mut asked = job("one");
    asked.logprobs = Some(3);
    let answer = ask(&running.engine, asked.clone()).await;
    assert_eq!((answer.thoughts.split(' ').count(), answer.text.split(' ').count()), (2, 4));
    assert_eq!((answer.usage().reasoning, answer.usage().completion), (2, 6));
    let text: String = answer.logprobs.iter().map(|entry| entry.token.as_str()).collect();
    assert_eq!(text, answer.text);
    for entry in &answer.logprobs {
        assert_eq!(
            (entry.top.len(), &entry.top[0].token, entry.bytes.as_slice()),
            (3, &entry.token, entry.token.as_bytes())
        );
        assert!(entry.top.windows(2).all(|pair| pair[0].logprob > pair[1].logprob));
    }
    // What a stop text cuts is not told by its logarithms either: from inside the second word into
    // the third.
    let second = answer.logprobs[0].token.len() + answer.logprobs[1].token.len() - 2;
    let stop = answer.text[second..second + 4].to_owned();
    let cut = ask(&running.engine, Job { stop: vec![stop], ..asked.clone() }).await;
    assert_eq!(cut.text, answer.text[..second]);
    assert_eq!(cut.logprobs, answer.logprobs[..1]);
    let answer = ask(&running.engine, Job { reasoning: Reasoning::Off, ..asked.clone() }).await;
    assert_eq!((answer.thoughts.as_str(), answer.usage().reasoning), ("", 0));
    let answer = ask(&running.engine, Job { max_tokens: 1, ..asked }).await;
    assert_eq!(
        (answer.text.as_str(), answer.finish(), answer.usage().completion),
        ("", FinishReason::Length, 1)
    );
}

#[tokio::test]
async fn vectors_are_known_in_advance_and_of_unit_length() {
    let running =
        start("kind = 'scripted'\nmodel_kind = 'embedding'\ndimensions = 8\ncontext_length = 4")
            .await;
    let text = |text: &str| EmbedInput::Text(text.to_owned());
    let embed = |inputs| Job { input: Input::Embed(inputs), ..job("") };
    let inputs =
        vec![text("one two"), text("other"), text("one two"), EmbedInput::Tokens(vec![1, 2, 3])];
    let answer = ask(&running.engine, embed(inputs)).await;
    assert_eq!((answer.usage().prompt, answer.usage().completion, answer.vectors.len()), (8, 0, 4));
    assert_eq!(answer.vectors[0], answer.vectors[2]);
    assert_ne!(answer.vectors[0], answer.vectors[1]);
    for vector in &answer.vectors {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!(vector.len() == 8 && (length - 1.0).abs() < 1e-5);
    }
    let long =
        running.engine.generate(embed(vec![EmbedInput::Tokens(vec![1; 5])])).expect_err("too long");
    assert_eq!(long, EngineError::ContextLengthExceeded { prompt: 5, limit: 4 });
    let chat = start("kind = 'scripted'").await;
    for (running, job) in [(&running, job("hi")), (&chat, embed(vec![text("a")]))] {
        let error = running.engine.generate(job).expect_err("another kind of model");
        assert!(
            matches!(error, EngineError::InvalidRequest { param: Some(param), .. } if param == "model")
        );
    }
}
