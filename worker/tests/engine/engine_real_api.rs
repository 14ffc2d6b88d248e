//! What the OpenAI API asks of the real child beyond an answer in words: plain prompts, calls that
//! are demanded, shapes, thinking.

use std::path::Path;

use cocoon_worker::engine::{
    Constraint, EmbedInput, EngineError, FinishReason, Input, Job, Reasoning, ToolChoice,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine_real::{MODEL, demo, engine_bin, weather_tool};
use crate::support::{Answer, Running, ask, chat, job, start};

const JAPAN: &str =
    "<|im_start|>user\nWhat is the capital of Japan?<|im_end|>\n<|im_start|>assistant\n";

/// The demo model with another chat template.
async fn taught(template: &str) -> (Running, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(MODEL).expect("the shipped model") {
        let entry = entry.expect("the shipped model");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("room for it");
    }
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("room for it");
    (start(&config(folder.path())).await, folder)
}

fn config(folder: &Path) -> String {
    let program = engine_bin();
    let (folder, program) = (folder.display(), program.display());
    format!("kind = 'mistralrs'\nmodel = '{folder}'\nname = 'taught'\nengine_bin = '{program}'")
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn with_tools(question: &str, choice: ToolChoice, tools: &[Value]) -> Job {
    Job { tool_choice: choice, ..chat(vec![user(question)], tools.to_vec()) }
}

fn completion(input: Input) -> Job {
    Job { input, ..job("") }
}

/// The parameter that a refusal names.
fn refused(answer: &Answer) -> &str {
    match &answer.error {
        Some(EngineError::InvalidRequest { param: Some(param), .. }) => param,
        _ => panic!("a refusal: {answer:?}"),
    }
}

fn code(answer: &Answer) -> &str {
    match &answer.error {
        Some(EngineError::InvalidRequest { code, .. }) => code,
        _ => panic!("a refusal: {answer:?}"),
    }
}

fn arguments(answer: &Answer) -> Vec<Value> {
    let parse = |text: &String| serde_json::from_str(text).expect("whole JSON");
    answer.calls.iter().map(|(_, arguments)| parse(arguments)).collect()
}

// === Plain prompts ===

#[tokio::test]
async fn a_plain_prompt_goes_on_without_a_template() {
    let (running, _models) = demo("").await;
    let answer = ask(&running.engine, completion(Input::Text(JAPAN.to_owned()))).await;
    assert_eq!(answer.text, "The capital of Japan is Tokyo.");
    assert_eq!((answer.usage().prompt, answer.usage().completion), (17, 13));
    assert_eq!(answer.finish(), FinishReason::Stop);

    let answer = ask(&running.engine, completion(Input::Text("The capital of".to_owned()))).await;
    assert_eq!((answer.prompt_tokens, answer.finish()), (Some(3), FinishReason::Stop));
    assert!(answer.text.starts_with(' '), "what goes on keeps its space: {:?}", answer.text);
}

#[tokio::test]
async fn tokens_are_a_prompt_if_the_model_knows_them() {
    let (running, _models) = demo("context_length = 64").await;
    let as_text = ask(&running.engine, completion(Input::Text("<|im_start|>".to_owned()))).await;
    // The token of that text, by the tokenizer.
    let as_tokens = ask(&running.engine, completion(Input::Tokens(vec![1]))).await;
    assert_eq!((as_tokens.usage(), &as_tokens.text), (as_text.usage(), &as_text.text));
    assert_eq!(as_tokens.prompt_tokens, Some(1));

    let unknown = ask(&running.engine, completion(Input::Tokens(vec![1, 1_000_000]))).await;
    assert_eq!(refused(&unknown), "prompt");
    let long = ask(&running.engine, completion(Input::Tokens(vec![1; 64]))).await;
    let expected = EngineError::ContextLengthExceeded { prompt: 64, limit: 64 };
    assert_eq!(long.error, Some(expected));
    // One place is left, and the answer has one token.
    let full = ask(&running.engine, completion(Input::Tokens(vec![1; 63]))).await;
    assert_eq!((full.usage().prompt, full.usage().completion), (63, 1));
    // Nothing at all is the beginning of a text.
    let empty = ask(&running.engine, completion(Input::Text(String::new()))).await;
    assert_eq!(empty.prompt_tokens, Some(1));
    let embed =
        ask(&running.engine, completion(Input::Embed(vec![EmbedInput::Text("x".to_owned())])))
            .await;
    assert_eq!(refused(&embed), "model");
}

#[tokio::test]
async fn a_plain_prompt_has_no_calls_and_no_thoughts() {
    let (running, _models) = demo("").await;
    // Tokens that structure an answer to a conversation, the first choices throughout.
    for (marker, id) in [("<think>", 3), ("</think>", 4), ("<tool_call>", 5), ("</tool_call>", 6)] {
        let mut forced = completion(Input::Text("The capital of".to_owned()));
        forced.sampling.logit_bias = vec![(id, 100.0)];
        forced.max_tokens = 2;
        let answer = ask(&running.engine, forced).await;
        assert_eq!((answer.text, answer.thoughts.as_str()), (marker.repeat(2), ""));
        assert!(answer.calls.is_empty());
    }
}

// === Calls ===

#[tokio::test]
async fn a_demanded_call_comes_whatever_was_asked() {
    let (running, _models) = demo("").await;
    for seed in 0..4 {
        for question in ["Hello", "What is 7 + 8?"] {
            let mut asked = with_tools(question, ToolChoice::Required, &[weather_tool()]);
            asked.sampling.temperature = 1.0;
            asked.sampling.seed = Some(seed);
            asked.max_tokens = 600;
            let answer = ask(&running.engine, asked).await;
            assert_eq!((answer.text.as_str(), answer.finish()), ("", FinishReason::ToolCalls));
            assert!((1..=8).contains(&answer.calls.len()), "{answer:?}");
            for arguments in arguments(&answer) {
                let names: Vec<&String> =
                    arguments.as_object().expect("an object").keys().collect();
                assert_eq!(names, ["city"]);
                assert!(arguments["city"].is_string());
            }
        }
    }
}

#[tokio::test]
async fn a_named_function_is_called_once() {
    let (running, _models) = demo("").await;
    let note = json!({"type": "function", "function": {"name": "take-note.v2"}});
    let order = json!({"type": "function", "function": {"name": "order", "parameters": {
        "type": "object", "properties": {
            "size": {"enum": ["small", "large"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "address": {"$ref": "#/$defs/address"}},
        "required": ["size", "count", "address"],
        "$defs": {"address": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"]}}}}});
    let tools = [weather_tool(), note, order];
    let named = |name: &str| {
        with_tools(
            "What is the weather in Osaka and Rome?",
            ToolChoice::Named(name.to_owned()),
            &tools,
        )
    };
    let answer = ask(&running.engine, named("order")).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("", FinishReason::ToolCalls));
    assert_eq!((answer.calls.len(), answer.calls[0].0.as_str()), (1, "order"));
    let order = arguments(&answer).remove(0);
    let names: Vec<&str> = order.as_object().unwrap().keys().map(String::as_str).collect();
    // In the order of the client's schema.
    assert_eq!(names, ["size", "count", "address"]);
    assert!(["small", "large"].contains(&order["size"].as_str().unwrap()));
    assert!((1..=9).contains(&order["count"].as_u64().unwrap()));
    assert_eq!(order["address"]["zip"].as_str().unwrap().len(), 5);

    // Without parameters: any object. A weak model may not find its end.
    let mut free = named("take-note.v2");
    free.max_tokens = 40;
    let answer = ask(&running.engine, free).await;
    assert_eq!((answer.text.as_str(), answer.calls.len()), ("", 1));
    assert!(answer.calls[0].1.starts_with('{'), "{answer:?}");

    let answer = ask(&running.engine, named("absent")).await;
    assert_eq!(refused(&answer), "tool_choice");
    let answer = ask(&running.engine, with_tools("Hello", ToolChoice::Required, &[])).await;
    assert_eq!(refused(&answer), "tool_choice");
    let broken =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "nonsense"}}});
    let answer = ask(&running.engine, with_tools("Hello", ToolChoice::Required, &[broken])).await;
    assert_eq!(refused(&answer), "tools");
}

#[tokio::test]
async fn without_parallel_calls_the_first_one_is_the_last() {
    let (running, _models) = demo("").await;
    let both = "What is the weather in Paris and Rome?";
    for choice in [ToolChoice::Auto, ToolChoice::Required] {
        let many = ask(&running.engine, with_tools(both, choice.clone(), &[weather_tool()])).await;
        assert_eq!(arguments(&many), [json!({"city": "Paris"}), json!({"city": "Rome"})]);
        let mut asked = with_tools(both, choice, &[weather_tool()]);
        asked.parallel_tool_calls = false;
        let one = ask(&running.engine, asked).await;
        assert_eq!(
            (arguments(&one), one.finish()),
            (vec![json!({"city": "Paris"})], FinishReason::ToolCalls)
        );
        assert!(one.usage().completion < many.usage().completion, "the rest is not generated");
    }
}

#[tokio::test]
async fn a_call_that_the_limit_cuts_is_told_as_far_as_it_goes() {
    let (running, _models) = demo("").await;
    let cut = async |max_tokens| {
        let question = "What is the weather in Osaka?";
        let mut asked = with_tools(question, ToolChoice::Required, &[weather_tool()]);
        asked.max_tokens = max_tokens;
        ask(&running.engine, asked).await
    };
    let whole = cut(200).await.calls.remove(0).1;
    for max_tokens in 1..24 {
        let answer = cut(max_tokens).await;
        assert_eq!((answer.text.as_str(), answer.usage().completion), ("", max_tokens.into()));
        assert_eq!(answer.finish(), FinishReason::Length);
        if let Some((name, arguments)) = answer.calls.first() {
            assert!(name == "get_weather" && whole.starts_with(arguments.as_str()), "{arguments}");
        }
    }
}

#[tokio::test]
async fn calls_stand_beside_a_shape_and_above_it() {
    let (running, _models) = demo("").await;
    let shaped = |question: &str, choice| {
        let mut asked = with_tools(question, choice, &[weather_tool()]);
        asked.constraint = Constraint::JsonSchema(
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
        );
        asked
    };
    let answer =
        ask(&running.engine, shaped("What is the weather in Osaka?", ToolChoice::Auto)).await;
    assert_eq!((answer.text.as_str(), arguments(&answer)), ("", vec![json!({"city": "Osaka"})]));
    let answer = ask(&running.engine, shaped("Hello", ToolChoice::Auto)).await;
    let value: Value = serde_json::from_str(&answer.text).expect("JSON");
    assert!(value["n"].is_i64() && answer.calls.is_empty(), "{answer:?}");
    let answer = ask(&running.engine, shaped("Hello", ToolChoice::Required)).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("", FinishReason::ToolCalls));
    let answer =
        ask(&running.engine, shaped("What is the weather in Osaka?", ToolChoice::None)).await;
    assert!(answer.calls.is_empty() && answer.text.starts_with('{'), "{answer:?}");
}

#[tokio::test]
async fn other_models_ways_of_calling_are_demanded_and_read() {
    let turns = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
    for marker in ["[TOOL_CALLS]", "<|python_tag|>"] {
        let (running, _folder) = taught(&format!("{{# {marker} {{{{ tools }}}} #}}{turns}")).await;
        let mut asked = with_tools("Hello", ToolChoice::Required, &[weather_tool()]);
        asked.parallel_tool_calls = false;
        let answer = ask(&running.engine, asked).await;
        assert_eq!(
            (answer.text.as_str(), answer.finish()),
            ("", FinishReason::ToolCalls),
            "{marker}"
        );
        assert!(!answer.calls.is_empty() && arguments(&answer)[0]["city"].is_string());
    }
    let (running, _folder) = taught(turns).await;
    for choice in [ToolChoice::Auto, ToolChoice::Required] {
        let answer = ask(&running.engine, with_tools("Hello", choice, &[weather_tool()])).await;
        assert_eq!(refused(&answer), "tools");
    }
    let answer =
        ask(&running.engine, with_tools("Hello", ToolChoice::None, &[weather_tool()])).await;
    assert!(answer.error.is_none());
    // Shows tools and teaches no way of calling that we know: the client would read the call.
    for way in ["", "<tool_call><function=", "[TOOL_CALLS][ARGS]", "<｜tool▁calls▁begin｜>"] {
        let (running, _folder) = taught(&format!("{{# {{{{ tools }}}} {way} #}}{turns}")).await;
        for choice in [ToolChoice::Auto, ToolChoice::Required] {
            let answer = ask(&running.engine, with_tools("Hello", choice, &[weather_tool()])).await;
            assert_eq!(refused(&answer), "tools", "{way}");
        }
        let none = with_tools("Hello", ToolChoice::None, &[weather_tool()]);
        assert!(ask(&running.engine, none).await.error.is_none(), "{way}");
    }
}

/// The weather tool, for one city that nobody asks for.
fn one_city(is_strict: bool, more: &Value) -> Value {
    let mut tool = weather_tool();
    tool["function"]["strict"] = is_strict.into();
    tool["function"]["parameters"]["properties"]["city"] = json!({"enum": ["Atlantis"]});
    for (name, value) in more.as_object().expect("an object") {
        tool["function"]["parameters"][name] = value.clone();
    }
    tool
}

#[tokio::test]
async fn a_strict_tool_is_called_by_its_schema_though_nobody_demands_it() {
    let (running, _models) = demo("").await;
    let asked = |question: &str, tool: Value| {
        with_tools(question, ToolChoice::Auto, &[tool, weather_two()])
    };
    let both = "What is the weather in Paris and Rome?";
    let free = ask(&running.engine, asked(both, one_city(false, &json!({})))).await;
    assert_eq!(arguments(&free), [json!({"city": "Paris"}), json!({"city": "Rome"})]);
    let held = ask(&running.engine, asked(both, one_city(true, &json!({})))).await;
    assert_eq!((held.text.as_str(), held.finish()), ("", FinishReason::ToolCalls));
    let there = || json!({"city": "Atlantis"});
    assert_eq!(arguments(&held), [there(), there()]);
    let mut single = asked(both, one_city(true, &json!({})));
    single.parallel_tool_calls = false;
    single.sampling.temperature = 1.0;
    single.sampling.seed = Some(5);
    let single = ask(&running.engine, single).await;
    assert_eq!(arguments(&single), [there()]);
    // The same with a call that the model did not want.
    let mut forced = asked("Hello", one_city(true, &json!({})));
    forced.sampling.logit_bias = vec![(5, 100.0)];
    // It goes on until its limit: what breaks off there is no content.
    let forced = ask(&running.engine, forced).await;
    assert_eq!((forced.text.as_str(), forced.finish()), ("", FinishReason::Length));
    assert!(forced.calls.len() > 1);
    assert!(
        forced
            .calls
            .iter()
            .all(|(_, arguments)| { r#"{"city": "Atlantis"}"#.starts_with(arguments.as_str()) })
    );

    // Text is as free as before.
    let mut texts = Vec::new();
    for is_strict in [true, false] {
        let answer = ask(&running.engine, asked("Hello", one_city(is_strict, &json!({})))).await;
        assert!(answer.calls.is_empty() && answer.finish() == FinishReason::Stop, "{answer:?}");
        texts.push(answer.text);
    }
    assert_eq!(texts[0], texts[1]);
    assert!(texts[0].starts_with("Hello!"), "{texts:?}");
}

/// Another tool, so that the grammar has one that is not strict.
fn weather_two() -> Value {
    json!({"type": "function", "function": {"name": "take_note", "parameters": {
        "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}})
}

#[tokio::test]
async fn a_strict_tool_that_cannot_be_held_to_is_refused_by_name_of_the_parameter() {
    let (running, _models) = demo("").await;
    let broken = json!({"not": {"required": ["town"]}});
    let asked = |is_strict, choice| {
        with_tools("Hello", choice, &[weather_tool(), one_city(is_strict, &broken)])
    };
    for choice in [ToolChoice::Auto, ToolChoice::Required] {
        let answer = ask(&running.engine, asked(true, choice)).await;
        assert_eq!((refused(&answer), code(&answer)), ("tools", "unsupported_parameter"));
    }
    for (is_strict, choice) in [(false, ToolChoice::Auto), (true, ToolChoice::None)] {
        assert!(ask(&running.engine, asked(is_strict, choice)).await.error.is_none());
    }
}

// === Shapes ===

#[tokio::test]
async fn properties_keep_the_clients_order() {
    let (running, _models) = demo("").await;
    for order in [["zeta", "alpha", "mid"], ["mid", "zeta", "alpha"]] {
        let properties = order.map(|name| format!("\"{name}\":{{\"type\":\"integer\"}}")).join(",");
        let text = format!(
            "{{\"type\":\"object\",\"properties\":{{{properties}}},\"required\":[\"alpha\",\"mid\",\"zeta\"]}}"
        );
        let mut asked = job("Give me a person as JSON.");
        asked.constraint = Constraint::JsonSchema(serde_json::from_str(&text).unwrap());
        let answer = ask(&running.engine, asked).await;
        let value: Value = serde_json::from_str(&answer.text).expect(&answer.text);
        let names: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(names, order);
    }
}

#[tokio::test]
async fn a_shape_that_cannot_be_kept_to_is_refused_and_harms_nobody() {
    let (running, _models) = demo("").await;
    let mut deep = json!({"type": "integer"});
    for _ in 0..100 {
        deep = json!({"anyOf": [{"items": deep}, {"type": "null"}]});
    }
    let mut unkept = job("Hello");
    unkept.constraint = Constraint::JsonSchema(json!({"type": "array", "uniqueItems": true}));
    let answer = ask(&running.engine, unkept).await;
    assert_eq!((refused(&answer), code(&answer)), ("response_format", "unsupported_parameter"));
    for schema in [
        json!({"type": "array", "uniqueItems": true}),
        json!({"not": {"type": "string"}}),
        json!({"type": "string", "pattern": "(a{500}){500}"}),
        json!({"$ref": "#/$defs/absent"}),
        json!({"type": "integer", "minimum": 2, "maximum": 1}),
        deep,
    ] {
        let mut asked = job("Hello");
        asked.max_tokens = 8;
        asked.constraint = Constraint::JsonSchema(schema.clone());
        let answer = ask(&running.engine, asked).await;
        if answer.end.is_none() {
            assert_eq!(refused(&answer), "response_format", "{schema}");
        }
    }
    let answer = ask(&running.engine, job("What is the capital of Japan?")).await;
    assert_eq!(answer.text, "The capital of Japan is Tokyo.");
}

#[tokio::test]
async fn a_shape_leaves_seed_bias_and_logarithms_as_they_are() {
    let (running, _models) = demo("").await;
    let schema = json!({"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 6, "maxItems": 6});
    let ask_with = async |seed, bias: &[(u32, f32)]| {
        let mut asked = job("Hello");
        asked.constraint = Constraint::JsonSchema(schema.clone());
        asked.sampling.temperature = 2.0;
        asked.sampling.seed = Some(seed);
        asked.sampling.logit_bias = bias.to_vec();
        asked.logprobs = Some(20);
        ask(&running.engine, asked).await
    };
    let (first, again, other) =
        (ask_with(1, &[]).await, ask_with(1, &[]).await, ask_with(2, &[]).await);
    assert_eq!((&first.text, &first.logprobs), (&again.text, &again.logprobs));
    assert_ne!(first.text, other.text);
    let bytes: Vec<u8> = first.logprobs.iter().flat_map(|entry| entry.bytes.clone()).collect();
    assert_eq!(bytes, first.text.as_bytes());
    for entry in &first.logprobs {
        assert_eq!(entry.top.len(), 20);
        // The model's own distribution: what the grammar refused is among the likeliest.
        let sum: f32 = entry.top.iter().map(|top| top.logprob.exp()).sum();
        assert!(sum > 0.2 && sum < 1.001, "{sum}");
        assert!(entry.top.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
    }
    let ends_early = ask_with(1, &[(0, 100.0), (2, 100.0)]).await;
    assert_eq!(ends_early.finish(), FinishReason::Stop);
    assert_eq!(serde_json::from_str::<Vec<String>>(&ends_early.text).unwrap().len(), 6);
}

// === Thinking ===

/// Thinks unless it is told not to, as Qwen 3's template does, and opens the thought itself.
const THINKER: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {# {{ tools }} <tool_call> #}<|im_start|>assistant\n\
    {% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}";

#[tokio::test]
async fn thoughts_are_told_apart_counted_and_switched_off() {
    let (running, _folder) = taught(THINKER).await;
    let asked =
        |reasoning| Job { reasoning, max_tokens: 12, ..job("What is the capital of Japan?") };
    // A model that never closes its thought has said nothing.
    let mut endless = asked(Reasoning::Default);
    endless.sampling.logit_bias = vec![(0, -1000.0), (2, -1000.0), (4, -1000.0)];
    let answer = ask(&running.engine, endless).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("", FinishReason::Length));
    assert!(!answer.thoughts.is_empty());
    assert_eq!((answer.usage().reasoning, answer.usage().completion), (12, 12));

    // One that closes it at once goes on with the answer.
    let mut brief = asked(Reasoning::High);
    brief.sampling.logit_bias = vec![(4, 100.0)];
    brief.logprobs = Some(0);
    let answer = ask(&running.engine, brief).await;
    assert_eq!((answer.thoughts.as_str(), &answer.text), ("", &"</think>".repeat(11)));
    assert_eq!((answer.usage().reasoning, answer.logprobs.len()), (1, 11));

    let off = ask(&running.engine, asked(Reasoning::Off)).await;
    assert_eq!((off.thoughts.as_str(), off.usage().reasoning), ("", 0));
    assert!(!off.text.is_empty());
}

#[tokio::test]
async fn a_shape_comes_behind_the_thought() {
    let (running, _folder) = taught(THINKER).await;
    let shaped = |reasoning| {
        let mut asked = Job { reasoning, ..job("Hello") };
        asked.constraint = Constraint::JsonSchema(json!({"enum": ["yes", "no"]}));
        asked
    };
    // The thought's end is always the likeliest token, and within reach in the thought alone.
    let mut thinking = shaped(Reasoning::Default);
    thinking.sampling.logit_bias = vec![(4, 100.0)];
    thinking.sampling.temperature = 1.0;
    thinking.sampling.seed = Some(4);
    let answer = ask(&running.engine, thinking).await;
    assert!(["\"yes\"", "\"no\""].contains(&answer.text.as_str()), "{answer:?}");
    assert_eq!(answer.finish(), FinishReason::Stop);
    assert!(answer.usage().reasoning > 0);

    let off = ask(&running.engine, shaped(Reasoning::Off)).await;
    assert!(["\"yes\"", "\"no\""].contains(&off.text.as_str()), "{off:?}");
    assert_eq!((off.thoughts.as_str(), off.usage().reasoning), ("", 0));

    // No free text, in which the likeliest token could stand for ever.
    let lamp = json!({"type": "function", "function": {"name": "lamp", "parameters": {
        "type": "object", "properties": {"state": {"enum": ["on", "off"]}}, "required": ["state"]}}});
    let mut called = with_tools("Hello", ToolChoice::Named("lamp".to_owned()), &[lamp]);
    called.sampling.logit_bias = vec![(4, 100.0)];
    let answer = ask(&running.engine, called).await;
    assert_eq!((answer.text.as_str(), answer.finish()), ("", FinishReason::ToolCalls));
    let state = arguments(&answer).remove(0)["state"].clone();
    assert!(answer.usage().reasoning == 1 && (state == "on" || state == "off"), "{answer:?}");
}

#[tokio::test]
async fn a_model_may_open_its_thought_itself() {
    let template = THINKER.replace("{% else %}<think>\n{% endif %}", "{% endif %}");
    let (running, _folder) = taught(&template).await;
    let mut asked = job("Hello");
    asked.constraint = Constraint::JsonSchema(json!({"enum": ["yes", "no"]}));
    // Opens, and closes as soon as it is open.
    asked.sampling.logit_bias = vec![(3, 100.0), (4, 200.0)];
    asked.logprobs = Some(0);
    let answer = ask(&running.engine, asked).await;
    assert!(["\"yes\"", "\"no\""].contains(&answer.text.as_str()), "{answer:?}");
    assert_eq!(answer.usage().reasoning, 1);
    let bytes: Vec<u8> = answer.logprobs.iter().flat_map(|entry| entry.bytes.clone()).collect();
    assert_eq!(bytes, answer.text.as_bytes());
}

// === Sampling, stops, ends ===

#[tokio::test]
async fn every_choice_of_a_request_has_its_own_text() {
    let (running, _models) = demo("").await;
    let mut texts = std::collections::BTreeSet::new();
    for choice in 0..4 {
        let mut asked = job("Tell me a story.");
        asked.sampling.temperature = 1.0;
        asked.sampling.seed = Some(40 + choice);
        texts.insert(ask(&running.engine, asked).await.text);
    }
    assert_eq!(texts.len(), 4);
}

#[tokio::test]
async fn bias_and_penalties_reach_the_model() {
    let (running, _models) = demo("").await;
    let mut biased = job("What is 7 + 8?");
    // Both ends first: the answer is empty, and it has its end and its count.
    biased.sampling.logit_bias = vec![(2, 100.0)];
    let answer = ask(&running.engine, biased).await;
    assert_eq!(
        (answer.text.as_str(), answer.finish(), answer.usage().completion),
        ("", FinishReason::Stop, 1)
    );
    let repeated = |frequency_penalty| {
        let mut asked = job("Repeat: apple apple apple apple apple apple");
        asked.sampling.frequency_penalty = frequency_penalty;
        asked
    };
    let plain = ask(&running.engine, repeated(0.0)).await.text.matches("apple").count();
    let penalised = ask(&running.engine, repeated(2.0)).await.text.matches("apple").count();
    let rewarded = ask(&running.engine, repeated(-2.0)).await.text.matches("apple").count();
    assert!(
        penalised <= plain && plain <= rewarded && penalised < rewarded,
        "{penalised} {plain} {rewarded}"
    );
}

#[tokio::test]
async fn a_stop_across_tokens_or_in_what_looked_like_a_call_never_leaves() {
    let (running, _models) = demo("").await;
    let mut asked = job("What is the capital of Japan?");
    asked.logprobs = Some(1);
    let (whole, logprobs) = {
        let answer = ask(&running.engine, asked.clone()).await;
        (answer.text, answer.logprobs)
    };
    // Every part of the answer that is longer than a token is somewhere between tokens.
    for start in 0..whole.len() - 5 {
        let stop = &whole[start..start + 5];
        asked.stop = vec![stop.to_owned()];
        let answer = ask(&running.engine, asked.clone()).await;
        let end = whole.find(stop).unwrap();
        assert_eq!(answer.text, whole[..end], "{stop:?}");
        // Nor do the logarithms tell it: of a token that reaches into it there is none.
        let mut bytes = 0;
        let before = logprobs.iter().take_while(|entry| {
            bytes += entry.bytes.len();
            bytes <= end
        });
        let before: Vec<&str> = before.map(|entry| entry.token.as_str()).collect();
        let told: Vec<&str> = answer.logprobs.iter().map(|entry| entry.token.as_str()).collect();
        assert_eq!(told, before, "{stop:?}");
        assert_eq!(answer.finish(), FinishReason::Stop);
    }
    // The one tool is not the one that the model was taught, so its call is text.
    let other =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let mut asked = with_tools(
        "What is the weather in Osaka?",
        ToolChoice::Auto,
        &[weather_tool(), other.clone()],
    );
    asked.max_tokens = 60;
    assert!(!ask(&running.engine, asked.clone()).await.calls.is_empty());
    let Input::Chat { tools, .. } = &mut asked.input else { panic!("a conversation") };
    *tools = vec![other];
    asked.stop = vec!["name".to_owned()];
    let answer = ask(&running.engine, asked).await;
    assert!(!answer.text.contains("name"), "{answer:?}");
}

#[tokio::test]
async fn ends_and_counts_come_whatever_the_last_token_was() {
    let (running, _models) = demo("").await;
    // Bytes of characters that never get whole: "é" begins with token 127 + 100 in GPT-2's alphabet.
    for id in 200..230 {
        let mut asked = job("Hello");
        asked.max_tokens = 3;
        asked.sampling.logit_bias = vec![(id, 1000.0)];
        asked.logprobs = Some(1);
        let answer = ask(&running.engine, asked).await;
        assert_eq!(
            (answer.finish(), answer.usage().completion),
            (FinishReason::Length, 3),
            "token {id}"
        );
        assert_eq!(answer.logprobs.len(), 3, "token {id}");
    }
}
