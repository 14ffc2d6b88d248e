use cocoon_openai_wire::chat::{
    AnswerMessage, ChatCompletion, ChatCompletionChunk, Choice, FinishReason, Usage,
};
use cocoon_openai_wire::error::ErrorBody;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn a_whole_answer_has_every_required_key() {
    let message = AnswerMessage {
        role: "assistant".into(),
        content: Some("hi".to_owned()),
        ..AnswerMessage::default()
    };
    let finish_reason = Some(FinishReason::ToolCalls);
    let choice = Choice { index: 0, message, logprobs: None, finish_reason };
    let usage = Usage::new(5, 1, 7, 2);
    let answer = ChatCompletion::new("id".to_owned(), 9, "m".to_owned(), vec![choice], usage);
    let expected = json!({"id": "id", "object": "chat.completion", "created": 9, "model": "m",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": null,
            "message": {"role": "assistant", "content": "hi", "refusal": null, "annotations": []}}],
        "service_tier": "default", "system_fingerprint": null,
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}});
    assert_eq!(serde_json::from_slice::<Value>(&answer.to_json()).unwrap(), expected);
}

#[test]
fn chunks_of_other_servers_are_read() {
    let read = |text: &'static str| serde_json::from_str::<ChatCompletionChunk<'_>>(text).unwrap();
    let chunk = read(
        r#"{"id":"x","choices":[{"delta":{"content":"a","reasoning":"r","tool_calls":
        [{"function":{"arguments":"{"}}]},"finish_reason":"eos_token","stop_reason":1}],"extra":1}"#,
    );
    let delta = &chunk.choices[0].delta;
    assert_eq!(delta.reasoning_content.as_deref(), Some("r"));
    assert_eq!((delta.tool_calls[0].index, chunk.usage), (0, None));
    assert_eq!(chunk.choices[0].finish_reason, Some(FinishReason::Unknown));
    assert_eq!(read(r#"{"usage":null}"#).usage, Some(None));
    let usage =
        read(r#"{"choices":[],"usage":{"prompt_tokens":3,"prompt_tokens_details":null}}"#).usage;
    assert_eq!(usage.flatten().map(|usage| usage.prompt_tokens), Some(3));
    assert_eq!(read(r#"{"choices":[{"delta":null}]}"#).choices[0].delta.content, None);
}

#[test]
fn a_whole_answer_of_another_server_is_read() {
    let text = r#"{"id":"x","model":"m","choices":[{"message":{"content":null,"tool_calls":null},
        "finish_reason":"stop"}],"usage":null}"#;
    let answer: ChatCompletion = serde_json::from_str(text).unwrap();
    assert_eq!((answer.choices[0].message.content.as_deref(), answer.usage), (None, None));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,120}") {
        drop(serde_json::from_str::<ChatCompletionChunk<'_>>(&text));
        drop(serde_json::from_str::<ChatCompletion>(&text));
        drop(serde_json::from_str::<ErrorBody>(&text));
    }

    #[test]
    fn errors_read_back(message in "\\PC{0,40}", param in prop::option::of("[a-z]{1,9}"), code in prop::option::of("[a-z_]{1,9}")) {
        let mut body = ErrorBody::new("server_error", message).with("request_id", "req_0");
        body.error.param = param;
        body.error.code = code;
        prop_assert_eq!(serde_json::from_slice::<ErrorBody>(&body.to_json()).unwrap(), body);
    }
}
