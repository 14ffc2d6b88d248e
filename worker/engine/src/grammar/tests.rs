use serde_json::{Value, json};

use super::*;
use crate::calls::CallFormat;

/// One token for each byte, and 256 that ends.
fn bytes() -> Grammars {
    let mut words: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    words.push(b"\xff<end>".to_vec());
    Grammars::new(words, Arc::new(BTreeSet::from([256])), None)
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
    for keyword in ["not", "uniqueItems", "if"] {
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
    // Names are strings anyway.
    let map = json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "integer"}});
    check(&shape(map), &[r#"{"a":1}"#], &[r#"{"a":true}"#]);
    let short = json!({"type": "object", "propertyNames": {"maxLength": 2}});
    assert_eq!(refused(short), Some(GrammarError::Keyword("propertyNames")));
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
        &[
            &llama,
            &format!("<|python_tag|>{llama}"),
            &llama.replace("{\"name\"", "{\"type\": \"function\", \"name\""),
        ],
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

/// Who may call: `f`, whose argument is one of two.
fn watched(format: CallFormat, thinks: bool) -> (Calls, Parts) {
    let parameters =
        json!({"type": "object", "properties": {"a": {"enum": ["on", "off"]}}, "required": ["a"]});
    let tool = Tool { name: "f".to_owned(), parameters: Some(parameters), strict: true };
    let calls = Calls { format, tools: vec![tool], many: true };
    let tools = Arc::new(BTreeSet::from(["f".to_owned()]));
    (calls, Parts { thinks, format: Some(format), tools, ..Parts::default() })
}

fn check_watched(format: CallFormat, thinks: bool, good: &[&str], bad: &[&str]) {
    let (calls, parts) = watched(format, thinks);
    let grammars = bytes();
    let takes = |answer: &str| takes(&mut grammars.watch(&calls, parts.clone()).unwrap(), answer);
    for answer in good {
        assert_eq!(takes(answer), (true, true), "{answer} {format:?}");
    }
    for answer in bad {
        assert_eq!(takes(answer), (false, false), "{answer} {format:?}");
    }
}

#[test]
fn text_is_free_and_calls_are_not() {
    let on = r#"{"name": "f", "arguments": {"a":"on"}}"#;
    let call = |body: &str| format!("<tool_call>\n{body}\n</tool_call>");
    let bad =
        [on.replace("on", "up"), on.replace("\"f\"", "\"g\""), on.replace("}}", ",\"b\":1}}")];
    let refused: Vec<String> = bad.iter().map(|body| call(body)).collect();
    let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
    check_watched(
        CallFormat::Hermes,
        false,
        &[
            "",
            "Sure, é 🙂 {\"a\": 1} <tool <tool_cal",
            &call(on),
            &format!("Sure.\n{}\n{}, done", call(on), call(on)),
        ],
        &[&refused[..], &[&format!("{}{}", call(on), refused[0]), "x<tool_call>y"]].concat(),
    );
    let thought = format!("<think>{} é</think>\n", refused[0]);
    check_watched(
        CallFormat::Hermes,
        true,
        &[&thought, &format!("{thought}{}", call(on))],
        &[&format!("{thought}{}", refused[0])],
    );
    let mistral = |body: &str| format!("So: [TOOL_CALLS] [{body}]");
    check_watched(
        CallFormat::Mistral,
        false,
        &["So: [1]", &mistral(on), &mistral(&format!("{on}, {on}"))],
        &[&mistral(&bad[0]), &format!("{} more", mistral(on))],
    );
    let llama = |body: &str| body.replace("arguments", "parameters");
    let typed = llama(on).replace("{\"name\"", "{\"type\": \"function\", \"name\"");
    check_watched(
        CallFormat::Llama,
        false,
        &[
            "{\"a\": \"name\"}",
            &llama(on),
            &format!("  {typed}"),
            &format!("It is {}", llama(&bad[0])),
            &format!("It is <|python_tag|>{}", llama(on)),
        ],
        &[
            &llama(&bad[0]),
            &llama(&bad[1]),
            &typed.replace("on\"}", "up\"}"),
            &format!("<|python_tag|>{}", llama(&bad[0])),
            &llama(on).replace(": \"f", ":\"f"),
            &format!("{}.", llama(on)),
        ],
    );
    // Half a call is no answer.
    let (calls, parts) = watched(CallFormat::Hermes, false);
    let mut guide = bytes().watch(&calls, parts).unwrap();
    assert_eq!(takes(&mut guide, "a <tool_call>\n{\"na"), (false, true));
}

#[test]
fn a_call_may_begin_anywhere_in_a_token() {
    let words = [
        "\u{0}end",
        "So",
        "<tool_",
        "call>\n{\"name\": \"",
        "call>\n{\"nome\": \"",
        "call>{",
        "f\", \"arguments\": {\"a\":\"on\"}}\n</tool_call>",
        "\u{0}special",
    ];
    let mut words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    words[0] = b"\xff<end>".to_vec();
    words[7] = b"\xff<special>".to_vec();
    // Bytes, so that every text can be said.
    words.extend((0..=0x7f).map(|byte| vec![byte]));
    let grammars = Grammars::new(words, Arc::new(BTreeSet::from([0])), None);
    let (calls, parts) = watched(CallFormat::Hermes, false);
    let mut guide = grammars.watch(&calls, parts).unwrap();
    let likely = |guide: &mut Guide| {
        let mut logits = [0.0; 8];
        assert!(guide.mask(&mut logits));
        let allowed: Vec<u32> =
            (0..8).filter(|place| logits[usize::try_from(*place).unwrap()].is_finite()).collect();
        assert!((0..8).all(|id| guide.allows(id) == allowed.contains(&id)));
        allowed
    };
    for _ in 0..2 {
        assert_eq!(likely(&mut guide), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(guide.take(1) && guide.take(2));
        assert_eq!(likely(&mut guide), [0, 1, 2, 3, 6, 7]);
        // A special token has no text: the marker goes on behind it.
        assert!(!guide.take(4) && guide.take(7) && !guide.take(5) && guide.take(3));
        assert_eq!(likely(&mut guide), [6]);
        assert!(guide.take(6));
    }
}

#[test]
fn a_strict_tool_that_cannot_be_held_to_is_refused_before_it_is_called() {
    let (mut calls, parts) = watched(CallFormat::Hermes, false);
    calls.tools[0].parameters = Some(json!({"type": "object", "not": {}}));
    let error = bytes().watch(&calls, parts.clone()).err();
    assert_eq!(error, Some(GrammarError::Keyword("not")));
    calls.tools[0].strict = false;
    assert!(bytes().watch(&calls, parts).is_ok());
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
    let grammars = Grammars::new(words, Arc::new(BTreeSet::from([0, 6])), None);
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
