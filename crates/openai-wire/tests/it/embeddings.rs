use cocoon_openai_wire::embeddings::{
    Embedding, EmbeddingsRequest, EmbeddingsUsage, Encoding, Vector, answer,
};
use cocoon_openai_wire::inputs::Input;
use serde_json::{Value, json};

fn parse(body: &Value) -> EmbeddingsRequest {
    EmbeddingsRequest::parse(body.to_string().as_bytes()).expect("a good request")
}

#[test]
fn every_form_of_input_is_read() {
    let text = |text: &str| Input::Text(text.to_owned());
    let table = [
        (json!("a"), vec![text("a")]),
        (json!(["a", "b"]), vec![text("a"), text("b")]),
        (json!([1, 4_294_967_295_u32]), vec![Input::Tokens(vec![1, u32::MAX])]),
        (json!([[1], [2, 3]]), vec![Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]),
    ];
    for (input, expected) in table {
        assert_eq!(parse(&json!({"model": "m", "input": input})).inputs, expected);
    }
    let request = parse(&json!({"model": "m", "input": "a", "encoding_format": "base64",
        "dimensions": 12, "user": "u"}));
    assert_eq!((request.encoding, request.dimensions), (Encoding::Base64, Some(12)));
    assert_eq!(Value::Object(request.extra), json!({"user": "u"}));
}

#[test]
fn an_input_of_nothing_or_of_no_token_is_refused() {
    let table = [
        (json!(""), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!([[1], []]), "input[1]"),
        (json!([1, 4_294_967_296_u64]), "input[1]"),
        (json!([[1, -1]]), "input[0][1]"),
        (json!([]), "input"),
        (json!({}), "input"),
    ];
    for (input, param) in table {
        let body = json!({"model": "m", "input": input}).to_string();
        let error = EmbeddingsRequest::parse(body.as_bytes()).expect_err("a bad request");
        assert_eq!(error.param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn an_answer_has_every_required_key() {
    let entries = [
        Embedding::new(0, Vector::Float(vec![0.1, -2.0])),
        Embedding::new(1, Vector::Base64("AAAA".to_owned())),
    ];
    let usage = EmbeddingsUsage { prompt_tokens: 3, total_tokens: 3 };
    let answer = answer(entries.iter().map(Embedding::to_json), "m", usage);
    let expected = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2.0]},{"object":"embedding","index":1,"embedding":"AAAA"}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    assert_eq!(String::from_utf8(answer).unwrap(), expected);
}
