//! Frames survive any split, and no bytes make the decoder panic.

use cocoon_engine_wire::{
    Attached, Channel, Constraint, EmbedInput, FRAME_BYTES_MAX, Failure, FinishReason,
    FrameDecoder, FromEngine, Generate, Prompt, Ready, Reasoning, Sampling, StopCut, ToEngine,
    TokenLogprob, ToolChoice, TopLogprob, Usage, WireError, encode,
};
use proptest::prelude::*;

fn sampling() -> impl Strategy<Value = Sampling> {
    let number = -100.0_f32..100.0;
    (
        number.clone(),
        0.0_f32..1.0,
        any::<Option<u64>>(),
        number.clone(),
        number.clone(),
        prop::collection::vec((any::<u32>(), number), 0..4),
    )
        .prop_map(
            |(temperature, top_p, seed, presence_penalty, frequency_penalty, logit_bias)| {
                Sampling {
                    temperature,
                    top_p,
                    seed,
                    presence_penalty,
                    frequency_penalty,
                    logit_bias,
                }
            },
        )
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let reasoning = prop::sample::select(vec![
        Reasoning::Default,
        Reasoning::Off,
        Reasoning::Low,
        Reasoning::Medium,
        Reasoning::High,
    ]);
    let embed = prop_oneof![
        ".*".prop_map(EmbedInput::Text),
        any::<Vec<u32>>().prop_map(EmbedInput::Tokens),
    ];
    prop_oneof![
        (".*", ".*", reasoning).prop_map(|(messages, tools, reasoning)| Prompt::Chat {
            messages,
            tools,
            reasoning
        }),
        ".*".prop_map(Prompt::Text),
        any::<Vec<u32>>().prop_map(Prompt::Tokens),
        prop::collection::vec(embed, 0..4).prop_map(Prompt::Embed),
    ]
}

fn tool_choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        ".*".prop_map(ToolChoice::Named),
    ]
}

fn to_engine() -> impl Strategy<Value = ToEngine> {
    let generate = (
        any::<u64>(),
        any::<u32>(),
        sampling(),
        prompt(),
        tool_choice(),
        any::<Option<u8>>(),
        prop::collection::vec(".*", 0..4),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(id, max_tokens, sampling, prompt, tool_choice, logprobs, stop, (schema, many))| {
                let constraint = if schema {
                    Constraint::JsonSchema(serde_json::json!({"type": "object"}))
                } else {
                    Constraint::JsonObject
                };
                let job = Generate {
                    prompt,
                    logprobs,
                    stop,
                    tool_choice,
                    parallel_tool_calls: many,
                    ..Generate::new(id, max_tokens, sampling)
                };
                ToEngine::Generate(Box::new(job.constrained(&constraint)))
            },
        );
    prop_oneof![
        generate,
        any::<u64>().prop_map(|id| ToEngine::Cancel { id }),
        any::<u64>().prop_map(|n| ToEngine::Ping { n })
    ]
}

fn logprob() -> impl Strategy<Value = TokenLogprob> {
    (".*", any::<Vec<u8>>(), -100.0_f32..0.0).prop_map(|(token, bytes, logprob)| TokenLogprob {
        top: vec![TopLogprob { token: token.clone(), bytes: bytes.clone(), logprob }],
        token,
        bytes,
        logprob,
    })
}

fn from_engine() -> impl Strategy<Value = FromEngine> {
    prop_oneof![
        any::<(u32, u32, u32, u16, u32)>().prop_map(
            |(protocol, context_length, vocab, jobs, embedding_dimensions)| {
                FromEngine::Ready(Ready {
                    protocol,
                    context_length,
                    vocab,
                    jobs,
                    embedding_dimensions,
                })
            }
        ),
        (any::<u64>(), any::<u32>(), prop::collection::vec(-1.0_f32..1.0, 0..16))
            .prop_map(|(id, index, vector)| FromEngine::Embedding { id, index, vector }),
        any::<(u64, u64)>()
            .prop_map(|(id, prompt_tokens)| FromEngine::Started { id, prompt_tokens }),
        (any::<u64>(), ".*", any::<u32>(), prop::collection::vec(logprob(), 0..3)).prop_map(
            |(id, text, completion_tokens, logprobs)| {
                FromEngine::Delta {
                    id,
                    channel: Channel::Reasoning,
                    text,
                    completion_tokens,
                    logprobs,
                }
            }
        ),
        (any::<u64>(), any::<u32>(), ".*", ".*", ".*", any::<u32>()).prop_map(
            |(id, index, call_id, name, arguments, completion_tokens)| {
                FromEngine::ToolCall { id, index, call_id, name, arguments, completion_tokens }
            }
        ),
        any::<(u64, u64, u64, u64, u64)>().prop_map(
            |(id, prompt, cached, completion, reasoning)| FromEngine::Finished {
                id,
                finish: FinishReason::ToolCalls,
                usage: Usage { prompt, cached, completion, reasoning }
            }
        ),
        any::<u64>().prop_map(|id| FromEngine::Cancelled { id }),
        (any::<u64>(), ".*", any::<Option<String>>()).prop_map(|(id, message, param)| {
            FromEngine::Failed { id, failure: Failure::Invalid { message, param } }
        }),
        (any::<u64>(), ".*", any::<Option<String>>()).prop_map(|(id, message, param)| {
            FromEngine::Failed { id, failure: Failure::Unsupported { message, param } }
        }),
        any::<(u64, u64, u64)>().prop_map(|(id, prompt, limit)| FromEngine::Failed {
            id,
            failure: Failure::ContextLength { prompt, limit }
        }),
        any::<(u64, u64)>().prop_map(|(n, resident_bytes)| FromEngine::Pong { n, resident_bytes }),
    ]
}

/// Encodes, cuts the bytes into pieces, and reads the messages back.
fn travel<T>(messages: &[T], piece: usize) -> Vec<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|message| encode(message).expect("a small message fits a frame"))
        .collect();
    let mut decoder = FrameDecoder::new();
    let mut read = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        while let Some(message) = decoder.next_message().expect("our own frame decodes") {
            read.push(message);
        }
    }
    assert!(decoder.is_empty());
    read
}

proptest! {
    #[test]
    fn messages_to_the_engine_round_trip(messages in prop::collection::vec(to_engine(), 0..6), piece in 1_usize..64) {
        prop_assert_eq!(travel(&messages, piece), messages);
    }

    #[test]
    fn messages_from_the_engine_round_trip(messages in prop::collection::vec(from_engine(), 0..6), piece in 1_usize..64) {
        prop_assert_eq!(travel(&messages, piece), messages);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        let mut decoder = FrameDecoder::new();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message::<FromEngine>() {}
        while let Ok(Some(_)) = decoder.next_message::<ToEngine>() {}
    }

    #[test]
    fn arbitrary_json_in_a_frame_never_panics(text in r#"[\{\}\[\]":,a-zA-Z0-9_ ]{0,200}"#) {
        let mut decoder = FrameDecoder::new();
        let length = u32::try_from(text.len()).unwrap();
        decoder.push(&length.to_be_bytes());
        decoder.push(text.as_bytes());
        drop(decoder.next_message::<FromEngine>());
    }
}

/// Pushes `text` piece by piece; returns what left and whether it stopped.
fn cut(stops: &[&str], text: &str, piece: usize) -> (String, bool) {
    let mut cut = StopCut::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
    let mut out = String::new();
    let characters: Vec<char> = text.chars().collect();
    for piece in characters.chunks(piece) {
        out += &cut.push(&piece.iter().collect::<String>());
    }
    out += &cut.finish();
    (out, cut.stopped())
}

proptest! {
    #[test]
    fn a_stop_text_never_leaves_and_the_rest_always_does(text in "[abé]{0,30}", stop in "[abé]{1,4}", piece in 1_usize..5) {
        let (out, stopped) = cut(&[&stop], &text, piece);
        match text.find(&stop) {
            Some(start) => prop_assert_eq!((out.as_str(), stopped), (&text[..start], true)),
            None => prop_assert_eq!((out.as_str(), stopped), (text.as_str(), false)),
        }
    }
}

/// One value for each token of one character, and the same for values that come with the last
/// byte of several.
fn attached(stop: &str, text: &str, piece: usize) -> (String, String) {
    let mut cut = StopCut::new(vec![stop.to_owned()]);
    let mut attached = Attached::default();
    let (mut out, mut released) = (String::new(), String::new());
    for piece in text.chars().collect::<Vec<char>>().chunks(piece) {
        let piece: String = piece.iter().collect();
        for character in piece.chars() {
            attached.push(character, character.len_utf8());
        }
        attached.text(piece.len());
        out += &cut.push(&piece);
        released.extend(attached.release(attached.end() - cut.behind()));
        assert!(out.starts_with(&released), "nothing before its text");
    }
    out += &cut.finish();
    if !cut.stopped() {
        released.extend(attached.finish());
    }
    (out, released)
}

proptest! {
    #[test]
    fn what_is_attached_leaves_with_its_text(text in "[abé]{0,30}", stop in "[abé]{1,4}", piece in 1_usize..5) {
        let (out, released) = attached(&stop, &text, piece);
        prop_assert_eq!(out, released);
    }
}

#[test]
fn a_token_that_a_stop_cuts_tells_nothing() {
    let mut cut = StopCut::new(vec!["###".to_owned()]);
    let mut attached = Attached::default();
    let mut released = Vec::new();
    for token in ["ab", "c#", "##d", "e"] {
        attached.push(token, token.len());
        attached.text(token.len());
        cut.push(token);
        released.extend(attached.release(attached.end() - cut.behind()));
    }
    assert_eq!((released, cut.stopped(), cut.behind()), (vec!["ab"], true, 5));
    // Tokens of half a character wait for the other half.
    let mut attached = Attached::default();
    attached.push("1", 0);
    assert_eq!(attached.release(usize::MAX), Vec::<&str>::new());
    attached.push("2", 1);
    attached.text(2);
    assert_eq!((attached.release(1), attached.release(2)), (Vec::new(), vec!["1", "2"]));
    // A token of which a part has come waits for the rest.
    attached.push("c#", 2);
    attached.text(1);
    assert_eq!(attached.release(attached.end()), Vec::<&str>::new());
    attached.text(1);
    assert_eq!(attached.release(attached.end()), ["c#"]);
    attached.push("3", 1);
    attached.clear();
    assert!(attached.finish().is_empty());
}

#[test]
fn the_earliest_of_several_stops_counts() {
    assert_eq!(cut(&["world", "lo"], "hello world", 1), ("hel".to_owned(), true));
    assert_eq!(cut(&["xx", "yy"], "hello", 1), ("hello".to_owned(), false));
    assert_eq!(cut(&[], "hello", 2), ("hello".to_owned(), false));
}

#[test]
fn a_frame_over_the_bound_is_refused_before_it_arrives() {
    let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    let mut decoder = FrameDecoder::new();
    decoder.push(&length.to_be_bytes());
    assert!(matches!(decoder.next_message::<FromEngine>(), Err(WireError::TooLong { .. })));
}

#[test]
fn a_message_over_the_bound_is_not_made() {
    let message = FromEngine::Delta {
        id: 1,
        channel: Channel::Content,
        text: "x".repeat(FRAME_BYTES_MAX),
        completion_tokens: 1,
        logprobs: Vec::new(),
    };
    assert!(matches!(encode(&message), Err(WireError::TooLong { .. })));
}

#[test]
fn a_schema_keeps_the_order_of_its_properties() {
    let schema: serde_json::Value =
        serde_json::from_str(r#"{"properties":{"z":{},"a":{},"m":{}}}"#).unwrap();
    let plain = Sampling {
        temperature: 0.0,
        top_p: 1.0,
        seed: None,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        logit_bias: Vec::new(),
    };
    let job = Generate::new(1, 1, plain).constrained(&Constraint::JsonSchema(schema));
    let Constraint::JsonSchema(read) = job.constraint().unwrap() else { panic!("a schema") };
    assert_eq!(read.to_string(), r#"{"properties":{"z":{},"a":{},"m":{}}}"#);
}

#[test]
fn the_depth_of_a_clients_schema_does_not_reach_the_frame() {
    let mut schema = serde_json::json!({});
    for _ in 0..120 {
        schema = serde_json::json!({ "items": schema });
    }
    let plain = Sampling {
        temperature: 0.0,
        top_p: 1.0,
        seed: None,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        logit_bias: Vec::new(),
    };
    let constraint = Constraint::JsonSchema(schema);
    let message = ToEngine::Generate(Box::new(Generate::new(1, 1, plain).constrained(&constraint)));
    let read = travel(std::slice::from_ref(&message), 7);
    let [ToEngine::Generate(job)] = read.as_slice() else { panic!("one job travelled") };
    assert_eq!(job.constraint().unwrap(), constraint);
}
