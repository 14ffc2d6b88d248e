//! Usage: pages, ranges, and what no query may do.

use serde_json::json;

use super::rig::{MODEL, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn usage_comes_in_pages_whose_totals_cover_all() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, 1_000_000_000).await;
    let body = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "hello" }],
        "max_completion_tokens": 3,
    });
    for _ in 0..3 {
        let path = "/v1/chat/completions";
        let answer = rig.post("createChatCompletion", path, Some(&payer.key), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let page = async |query: &str| {
        rig.get("listUsage", &format!("/v1/usage?{query}"), Some(&payer.token)).await.body
    };
    let first = page("limit=2").await;
    assert_eq!(
        (first["data"].as_array().map(Vec::len), &first["has_more"]),
        (Some(2), &json!(true))
    );
    assert_eq!(first["totals"]["requests"], 3);
    let next = first["next"].as_str().expect("a cursor");
    let second = page(&format!("limit=2&after={next}")).await;
    assert_eq!(
        (second["data"].as_array().map(Vec::len), &second["has_more"]),
        (Some(1), &json!(false))
    );
    assert_eq!(second["next"], json!(null));
    assert_eq!(page("to=1").await["totals"]["requests"], 0);
    assert_eq!(page("from=99999999999999").await["totals"]["requests"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_queries_name_their_parameter() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, 0).await;
    for (query, param) in [
        ("limit=0", json!("limit")),
        ("limit=1001", json!("limit")),
        ("after=there", json!("after")),
        ("from=yesterday", json!(null)),
        ("limit=-1", json!(null)),
    ] {
        let answer = rig.get("listUsage", &format!("/v1/usage?{query}"), Some(&payer.key)).await;
        answer.refused(400, "invalid_value");
        assert_eq!(answer.body["error"]["param"], param, "{query}");
    }
}
