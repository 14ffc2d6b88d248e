//! Arguments, credentials, and a gateway that is not there.

use crate::cocoon::Home;

#[tokio::test]
async fn help_documents_the_exit_codes() {
    let ran = Home::new().run(&["--help"]).await;
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("Exit codes:"), "{}", ran.stdout);
    assert_eq!(Home::new().run(&["--version"]).await.code, 0);
}

#[tokio::test]
async fn wrong_usage_is_1_not_clap_s_2() {
    for arguments in [&["frobnicate"][..], &["chat", "--max-tokens", "many"], &[]] {
        assert_eq!(Home::new().run(arguments).await.code, 1, "{arguments:?}");
    }
}

#[tokio::test]
async fn unusable_arguments_are_named() {
    let home = Home::new();
    let key = ["--api-key", "sk-x", "--base-url", "http://127.0.0.1:1"];
    for (arguments, message) in [
        (&["receipt", "get", "req_1"][..], "request id"),
        (&["usage", "--from", "yesterday"], "--from"),
        (&["keys", "revoke", "x"], "key id"),
        (&["keys", "create", "--spend-cap", "lots"], "--spend-cap"),
        (&["chat"], "standard input is empty"),
    ] {
        home.run(&[arguments, &key].concat()).await.assert_failed(1, message);
    }
    home.run(&["balance", "--base-url", "ftp://x", "--api-key", "k"])
        .await
        .assert_failed(1, "--base-url");
    home.run(&["balance", "--api-key", "a b"]).await.assert_failed(1, "the API key");
}

#[tokio::test]
async fn no_credential_says_how_to_get_one() {
    Home::new().run(&["balance"]).await.assert_failed(1, "cocoon login");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_3() {
    let home = Home::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", "sk-x")];
    for arguments in [&["balance"][..], &["chat", "--model", "m", "hi"], &["models", "--json"]] {
        home.run_with(arguments, &variables).await.assert_failed(3, "cannot reach");
    }
    home.run(&["wallet", "create"]).await;
    home.run_with(&["login"], &variables).await.assert_failed(3, "cannot reach");
}
