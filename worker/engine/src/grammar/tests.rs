use serde_json::{Value, json};

use super::*;
use crate::calls::CallFormat;

/// One token for each byte, and 256 that ends.
fn bytes() -> Grammars {
    let mut words: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    words.push(b"\xff<end>".to_vec());
    Grammars::new(words, Arc::new(BTreeSet::from([256])))
}

/// Whether the grammar takes this as a whole answer, and whether it takes it as a beginning.
fn takes(guide: &mut Guide, answer: &str) -> (bool, bool) {
    for byte in answer.bytes() {
        if !guide.allows(byte.into()) {
            return (false, false);
        }
        assert!(guide.take(byte.into()));
    }
    (guide.allows(256), true)
}

fn shape(schema: Value) -> Shape {
    Shape { thought: Thought::None, calls: None, schema: Some(schema) }
}

fn check(shape: &Shape, good: &[&str], bad: &[&str]) {
    let grammars = bytes();
    for answer in good {
        let mut guide = grammars.compile(shape).unwrap();
        assert_eq!(takes(&mut guide, answer), (true, true), "{answer}\n{shape:?}");
    }
    for answer in bad {
        let mut guide = grammars.compile(shape).unwrap();
        assert!(!takes(&mut guide, answer).0, "{answer}\n{shape:?}");
    }
}

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn objects_have_their_properties_in_order_and_no_others() {
    let schema = schema(
        r#"{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}, "required": ["z"]}"#,
    );
    check(
        &shape(schema),
        &[r#"{"z":"x","a":1}"#, r#"{"z": "x", "a": -1}"#, r#"{"z":"x"}"#],
        &[
            r#"{"a":1,"z":"x"}"#,
            r#"{"z":"x","b":1}"#,
            r#"{"z":  "x"}"#,
            "{\n\"z\":\"x\"}",
            r#"{"a":1}"#,
            r#"{"z":1}"#,
        ],
    );
}

#[test]
fn what_a_schema_says_of_other_properties_counts() {
    let open = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}});
    check(&shape(open), &[r#"{"a":"x","b":1}"#], &[r#"{"b":"x"}"#]);
    let composed = json!({"allOf": [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}]});
    check(&shape(composed), &[r#"{"a":1,"b":2}"#], &[r#"{"a":1}"#]);
    let either = json!({"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"],
        "anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                  {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]});
    check(&shape(either), &[r#"{"k":1,"a":2}"#, r#"{"k":1,"b":2}"#], &[r#"{"k":1}"#]);
}

#[test]
fn the_strict_subset_is_enforced() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["list", "tree", "kind", "either"],
        "properties": {
            "list": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 2},
            "tree": {"$ref": "#/$defs/node"},
            "kind": {"enum": ["a", "b", 3, null]},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}, {"const": "x"}]}},
        "$defs": {
            "item": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"], "additionalProperties": false},
            "node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
                "required": ["next"], "additionalProperties": false}}});
    let answer = |list: &str, tree: &str, kind: &str, either: &str| {
        format!("{{\"list\":{list},\"tree\":{tree},\"kind\":{kind},\"either\":{either}}}")
    };
    let leaf = r#"{"next":null}"#;
    let good = [
        answer("[]", leaf, "\"a\"", "true"),
        answer(r#"[{"n":1.5e3}, {"n":-2}]"#, r#"{"next":{"next":null}}"#, "3", "null"),
        answer("[]", leaf, "null", "\"x\""),
    ];
    let bad = [
        answer(r#"[{"n":1},{"n":1},{"n":1}]"#, leaf, "3", "null"),
        answer("[]", "null", "3", "null"),
        answer("[]", leaf, "\"c\"", "null"),
        answer("[]", leaf, "3", "\"y\""),
    ];
    let text = |answers: &'static [String]| answers.iter().map(String::as_str).collect::<Vec<_>>();
    check(&shape(schema), &text(good.to_vec().leak()), &text(bad.to_vec().leak()));
}

#[test]
fn integers_end() {
    let integer = |more: &str| shape(schema(&format!(r#"{{"type": "integer"{more}}}"#)));
    let long = "1".repeat(20);
    check(
        &integer(""),
        &["0", "-1", "1000000000000000000", "-1000000000000000000"],
        &["01", "1.0", &long],
    );
    check(&integer(r#", "minimum": 5"#), &["5", "123456"], &["4", "-5", &long]);
    check(
        &integer(r#", "exclusiveMaximum": 5"#),
        &["4", "-123456"],
        &["5", "-11111111111111111111"],
    );
    // What the client bounds is the client's.
    check(&integer(r#", "maximum": 1e19"#), &["-11111111111111111111"], &[]);
    check(&shape(json!({"type": ["integer", "null"]})), &["null", "7"], &[&long]);
    check(&shape(json!({"enum": [5, 6]})), &["5"], &["7"]);
}

#[test]
fn what_cannot_be_enforced_is_named() {
    let grammars = bytes();
    let refused = |schema: Value| grammars.compile(&shape(schema)).err();
    for keyword in ["not", "uniqueItems", "if", "propertyNames"] {
        let schema = json!({"type": "array", "items": {"type": "array", keyword: true}});
        assert_eq!(refused(schema), Some(GrammarError::Keyword(keyword)));
    }
    for schema in [
        json!({"type": "nonsense"}),
        json!({"$ref": "#/$defs/absent"}),
        json!({"$ref": "https://example.com/schema"}),
        json!({"type": "string", "pattern": "(?=a)"}),
        json!({"type": "string", "pattern": "("}),
        json!({"type": "object", "properties": 3}),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        Value::Bool(false),
    ] {
        assert_eq!(refused(schema.clone()), Some(GrammarError::Refused), "{schema}");
    }
    // A format that nobody knows is a comment; one of several shapes is any of them.
    let known =
        json!({"type": "object", "properties": {"format": {"type": "string", "format": "color"}}});
    check(&shape(known), &[r#"{"format":"red"}"#], &[]);
    let one_of = json!({"oneOf": [{"type": "integer"}, {"type": "number"}]});
    check(&shape(one_of), &["1", "1.5"], &["true"]);
    // The client does not choose our options.
    let spaced =
        json!({"type": "array", "x-guidance": {"whitespace_flexible": true, "lenient": true}});
    check(&shape(spaced), &["[1, 2]"], &["[ 1]", "[1,\n2]"]);
}

#[test]
fn large_and_deep_schemas_compile_or_are_refused_in_bounded_time() {
    let begun = tokio::time::Instant::now();
    let grammars = bytes();
    let mut deep = json!({"type": "integer"});
    for _ in 0..31 {
        deep = json!({"type": "object", "properties": {"a": deep}, "required": ["a"]});
    }
    assert!(grammars.compile(&shape(deep)).is_ok());
    let mut deepest = json!({});
    for _ in 0..120 {
        deepest = json!({"items": deepest});
    }
    drop(grammars.compile(&shape(deepest)));
    let property = |n: u32| {
        (format!("property_{n}"), json!({"type": "string", "description": "x".repeat(200)}))
    };
    let wide: serde_json::Map<String, Value> = (0..800).map(property).collect();
    assert!(grammars.compile(&shape(json!({"type": "object", "properties": wide}))).is_ok());
    for hostile in [
        json!({"type": "string", "minLength": 100_000_000}),
        json!({"type": "array", "items": {"type": "string", "pattern": "^(a|b|ab)*c{900}$"}, "minItems": 1_000_000}),
        json!({"type": "string", "pattern": "^((((a{99}){99}){99}){99}){99}$"}),
    ] {
        drop(grammars.compile(&shape(hostile)));
    }
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

fn tools() -> Vec<Tool> {
    let parameters = schema(
        r#"{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}"#,
    );
    let tool = |name: &str, parameters| Tool { name: name.to_owned(), parameters, strict: false };
    vec![tool("get_weather", Some(parameters)), tool("go", None)]
}

fn calling(format: CallFormat, many: bool) -> Shape {
    let calls = Calls { format, tools: tools(), many };
    Shape { thought: Thought::None, calls: Some(calls), schema: None }
}

#[test]
fn demanded_calls_are_whole_and_nothing_stands_beside_them() {
    let weather = r#"{"name": "get_weather", "arguments": {"city": "Rome"}}"#;
    let go = r#"{"name": "go", "arguments": {"any":[1]}}"#;
    let call = |body: &str| format!("<tool_call>\n{body}\n</tool_call>");
    let two = format!("{}\n{}", call(weather), call(go));
    let nine = vec![call(go); 9].join("\n");
    check(
        &calling(CallFormat::Hermes, true),
        &[&call(weather), &two, &nine[..nine.len() - call(go).len() - 1]],
        &[
            "",
            "Sure.",
            &format!("{} ", call(go)),
            &call(r#"{"name": "other", "arguments": {}}"#),
            &call(r#"{"name": "get_weather", "arguments": {"town": "Rome"}}"#),
            &nine,
        ],
    );
    check(&calling(CallFormat::Hermes, false), &[&call(go)], &[&two]);
    let mistral = |body: &str| format!("[TOOL_CALLS][{body}]");
    let both = mistral(&format!("{weather}, {go}"));
    check(&calling(CallFormat::Mistral, true), &[&both], &[&mistral("")]);
    check(&calling(CallFormat::Mistral, false), &[&mistral(go)], &[&both]);
    let llama = weather.replace("arguments", "parameters");
    check(
        &calling(CallFormat::Llama, true),
        &[&llama, &format!("<|python_tag|>{llama}")],
        &[weather, &format!("{llama}{llama}")],
    );
}

#[test]
fn thinking_comes_first_and_is_free() {
    let think = |thought| Shape { thought, ..shape(json!({"type": "boolean"})) };
    let free = "hm <b> {\n} </think>\n\ntrue";
    check(&think(Thought::Begun), &[free, "</think>true"], &["true", "hm", "</think>no"]);
    let thought = format!("<think>{free}");
    check(&think(Thought::Possible), &[&thought, "false"], &["hm</think>true", "<think>true"]);
    check(&think(Thought::None), &["true"], &[&thought]);
    let either =
        Shape { schema: Some(json!({"type": "boolean"})), ..calling(CallFormat::Hermes, true) };
    let call = "<tool_call>\n{\"name\": \"go\", \"arguments\": {}}\n</tool_call>";
    check(&either, &["true", call], &["Sure.", &format!("true{call}")]);
}

#[test]
fn a_tools_schema_is_held_to_as_far_as_can_be() {
    let parameters = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": true}}});
    let calls = |strict| {
        let tool = Tool { name: "f".to_owned(), parameters: Some(parameters.clone()), strict };
        let calls = Calls { format: CallFormat::Mistral, tools: vec![tool], many: false };
        Shape { thought: Thought::None, calls: Some(calls), schema: None }
    };
    let answer =
        |a: &str| format!("[TOOL_CALLS][{{\"name\": \"f\", \"arguments\": {{\"a\": {a}}}}}]");
    check(&calls(false), &[&answer("[1, 1]")], &[&answer("[true]")]);
    assert_eq!(bytes().compile(&calls(true)).err(), Some(GrammarError::Keyword("uniqueItems")));
}

/// A vocabulary may have a marker as one token, and ends of several names.
#[test]
fn tokens_of_several_bytes_and_several_ends() {
    let words = [
        "\u{0}end",
        "<tool_call>",
        "\n{\"name\": \"go\", ",
        "\"arguments\": {}}\n<",
        "/tool_call>",
        "x",
    ];
    let mut words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    words[0] = b"\xff<end>".to_vec();
    words.push(b"\xff<stop>".to_vec());
    let grammars = Grammars::new(words, Arc::new(BTreeSet::from([0, 6])));
    let mut guide = grammars.compile(&calling(CallFormat::Hermes, false)).unwrap();
    for id in [1, 2, 3, 4] {
        let mut logits = [0.0; 9];
        assert!(guide.mask(&mut logits), "before {id}");
        let allowed: Vec<usize> = (0..9).filter(|place| logits[*place].is_finite()).collect();
        assert_eq!(allowed, [usize::try_from(id).unwrap()]);
        assert!(!guide.allows(0) && !guide.allows(8) && guide.allows(id) && guide.take(id));
    }
    let mut logits = [0.0; 9];
    assert!(guide.mask(&mut logits));
    let allowed: Vec<usize> = (0..9).filter(|place| logits[*place].is_finite()).collect();
    assert_eq!(allowed, [0, 6]);
    assert!(guide.allows(0) && guide.allows(6) && !guide.allows(5));
}
