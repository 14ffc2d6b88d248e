use super::*;

/// Every answer of up to `length` of these parts.
///
/// Exhaustive in place of random: proptest would change features deep in mistral.rs' graph,
/// and the suite would compile all of it a second time.
fn answers(parts: &[&str], length: u32) -> impl Iterator<Item = String> {
    let base = u32::try_from(parts.len()).unwrap();
    let count = move |length: u32| base.pow(length);
    (0..=length).flat_map(move |length| (0..count(length)).map(move |code| (length, code))).map(
        move |(length, code)| {
            (0..length)
                .map(|place| parts[usize::try_from(code / count(place) % base).unwrap()])
                .collect()
        },
    )
}

fn parts(format: CallFormat, thinks: bool) -> Parts {
    let tools = Arc::new(BTreeSet::from(["f".to_owned()]));
    Parts { thinks, format: Some(format), tools, ..Parts::default() }
}

/// Content, thoughts, and calls.
type Split = (String, String, Vec<(String, String)>);

/// `answer` pushed in pieces of `size` characters.
fn split(answer: &str, size: usize, thinks: bool) -> Split {
    split_with(parts(CallFormat::Hermes, thinks), answer, size, false)
}

fn split_with(parts: Parts, answer: &str, size: usize, cut: bool) -> Split {
    let mut splitter = Splitter::new(parts);
    let characters: Vec<char> = answer.chars().collect();
    let mut pieces = Vec::new();
    for part in characters.chunks(size) {
        pieces.extend(splitter.push(&part.iter().collect::<String>()));
    }
    pieces.extend(splitter.finish(cut));
    let (mut content, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(Channel::Content, text) => content += &text,
            Piece::Text(Channel::Reasoning, text) => thoughts += &text,
            Piece::Call(call) => calls.push((call.name, call.arguments)),
        }
    }
    (content, thoughts, calls)
}

#[test]
fn answers_come_apart_however_they_arrive() {
    const F: &str =
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1,\"a\":2}}\n</tool_call>";
    let twice = format!("Sure. \n{F}\n{F}\n");
    let unclosed = F.strip_suffix("</tool_call>").unwrap();
    let arguments = "{\"b\": 1,\"a\":2}";
    let cases: [(&str, &str, &str, usize); 8] = [
        ("hello\n\nworld \n", "hello\n\nworld \n", "", 0),
        (F, "", "", 1),
        (&twice, "Sure.", "", 2),
        (unclosed, "", "", 1),
        ("a <tool_call>{</tool_call> b", "a<tool_call>{</tool_call> b", "", 0),
        (
            "<tool_call>{\"name\":\"g\"}</tool_call>",
            "<tool_call>{\"name\":\"g\"}</tool_call>",
            "",
            0,
        ),
        (" <think>\nwhy <x\n</think>\n\nbecause", "because", "why <x", 0),
        ("a <think>b</think>", "a <think>b</think>", "", 0),
    ];
    for (answer, content, thoughts, calls) in cases {
        for size in [1, 2, 7, 1000] {
            let expected = vec![("f".to_owned(), arguments.to_owned()); calls];
            let found = split(answer, size, true);
            assert_eq!(found, (content.to_owned(), thoughts.to_owned(), expected), "{answer}");
        }
    }
}

#[test]
fn arguments_may_be_text_or_missing() {
    let call = |body: &str| split(&format!("<tool_call>{body}</tool_call>"), 3, false).2;
    let f = |arguments: &str| vec![("f".to_owned(), arguments.to_owned())];
    assert_eq!(call(r#"{"name":"f","arguments":"{\"a\":1}"}"#), f(r#"{"a":1}"#));
    assert_eq!(call(r#"{"name":"f","parameters":{"a":1}}"#), f(r#"{"a":1}"#));
    assert_eq!(call(r#"{"name":"f"}"#), f("{}"));
}

#[test]
fn without_markers_every_character_comes_out() {
    for answer in answers(&["a", "<", ">", "/", " ", "\n", "</think", "<tool_cal"], 4) {
        for size in [1, 2, 5] {
            assert_eq!(split(&answer, size, false).0, answer);
        }
    }
}

#[test]
fn nothing_panics() {
    let parts =
        ["<tool_call>", "</tool_call>", "<think>", "</think>", "{\"name\":\"f\"}", "{", "é<", " "];
    for answer in answers(&parts, 4) {
        for (size, thinks) in [(1, true), (3, false), (8, true)] {
            split(&answer, size, thinks);
        }
    }
}

const FORMATS: [CallFormat; 3] = [CallFormat::Hermes, CallFormat::Mistral, CallFormat::Llama];

fn f(arguments: &str) -> (String, String) {
    ("f".to_owned(), arguments.to_owned())
}

#[test]
fn other_models_calls_are_read() {
    const F: &str = r#"{"name": "f", "arguments": {"b":1, "a":"é"}}"#;
    let arguments = r#"{"b":1, "a":"é"}"#;
    let parameters = F.replace("arguments", "parameters");
    let cases: [(CallFormat, String, &str, usize); 11] = [
        (CallFormat::Mistral, format!("[TOOL_CALLS][{F}]"), "", 1),
        (CallFormat::Mistral, format!("So: [TOOL_CALLS] [{F}, {F}]\n"), "So:", 2),
        (
            CallFormat::Mistral,
            "[TOOL_CALLS][{\"name\":\"g\"}]".to_owned(),
            "[TOOL_CALLS][{\"name\":\"g\"}]",
            0,
        ),
        (CallFormat::Mistral, "[TOOL_CALLS] none".to_owned(), "[TOOL_CALLS] none", 0),
        (CallFormat::Mistral, "[1, 2]".to_owned(), "[1, 2]", 0),
        (CallFormat::Llama, parameters.clone(), "", 1),
        (CallFormat::Llama, format!(" <|python_tag|>{parameters}; {parameters}"), "", 2),
        (CallFormat::Llama, format!("{parameters} So."), "So.", 1),
        (CallFormat::Llama, "{\"name\": \"Ada\"}".to_owned(), "{\"name\": \"Ada\"}", 0),
        (CallFormat::Llama, "{\"a\": 1}".to_owned(), "{\"a\": 1}", 0),
        (CallFormat::Llama, format!("It is {parameters}"), &format!("It is {parameters}"), 0),
    ];
    for (format, answer, content, calls) in &cases {
        for size in [1, 2, 7, 1000] {
            let found = split_with(parts(*format, false), answer, size, false);
            let expected = vec![f(arguments); *calls];
            assert_eq!(found, ((*content).to_owned(), String::new(), expected), "{answer}");
        }
    }
}

#[test]
fn an_end_inside_of_an_argument_is_none() {
    let arguments = r#"{"a":"</tool_call> \" </tool_call>"}"#;
    let answer = format!("<tool_call>{{\"name\":\"f\",\"arguments\":{arguments}}}</tool_call>");
    for size in [1, 5, 1000] {
        assert_eq!(split(&answer, size, false), (String::new(), String::new(), vec![f(arguments)]));
    }
}

#[test]
fn a_call_that_the_limit_cuts_keeps_what_there_is_of_it() {
    let begun = r#"{"name": "f", "arguments": {"a": [1, "tw"#;
    let cases = [
        (CallFormat::Hermes, format!("<tool_call>\n{begun}")),
        (CallFormat::Mistral, format!("[TOOL_CALLS][{begun}")),
        (CallFormat::Llama, begun.replace("arguments", "parameters")),
    ];
    for (format, answer) in cases {
        let found = split_with(parts(format, false), &answer, 3, true);
        assert_eq!(found, (String::new(), String::new(), vec![f(r#"{"a": [1, "tw"#)]));
        // A model that ends by itself has written no call but text.
        assert_eq!(split_with(parts(format, false), &answer, 3, false).0, answer);
        // Where it can be nothing but a call, text of one that has no name yet is dropped.
        let calls_are_sure = Parts { calls_are_sure: true, ..parts(format, false) };
        let nameless = &answer[..answer.find("\"f").unwrap()];
        let found = split_with(calls_are_sure, nameless, 3, true);
        assert_eq!(found.2, Vec::new());
        let bare = format == CallFormat::Llama;
        assert_eq!(found.0, if bare { nameless } else { "" }, "{nameless}");
    }
}

/// Whatever way an answer is cut into pieces, the same comes out; where no call was made of it,
/// all of it does.
#[test]
fn pieces_do_not_matter_and_nothing_is_lost() {
    let parts_of = [
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "<|python_tag|>",
        "{\"name\":\"f\",\"parameters\":{}}",
        "{\"name\":\"",
        "}",
        "é ",
    ];
    for format in FORMATS {
        for answer in answers(&parts_of, 4) {
            let whole = split_with(parts(format, false), &answer, 1000, false);
            for size in [1, 3] {
                assert_eq!(
                    split_with(parts(format, false), &answer, size, false),
                    whole,
                    "{answer}"
                );
            }
            if whole.2.is_empty() {
                let letters = |text: &str| text.replace(char::is_whitespace, "");
                assert_eq!(letters(&whole.0), letters(&answer));
            }
        }
    }
}
