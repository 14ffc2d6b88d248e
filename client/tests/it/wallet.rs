//! The development wallet's file.

use std::os::unix::fs::PermissionsExt as _;

use crate::cocoon::{Home, mode};

#[tokio::test]
async fn a_created_wallet_is_private_and_shows_the_same_address() {
    let home = Home::new();
    let created = home.run(&["wallet", "create", "--json"]).await.json();
    let file = home.path(".config/cocoon/wallet.json");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(created["version"], "v5r1");
    assert_eq!(created["network"], "-3");
    assert_eq!(home.run(&["wallet", "show", "--json"]).await.json(), created);

    let other = Home::new().run(&["wallet", "create", "--json"]).await.json();
    assert_ne!(created["address"], other["address"]);
}

#[tokio::test]
async fn an_existing_wallet_is_never_replaced() {
    let home = Home::new();
    let created = home.run(&["wallet", "create", "--json"]).await.json();
    home.run(&["wallet", "create"]).await.assert_failed(1, "File exists");
    assert_eq!(home.run(&["wallet", "show", "--json"]).await.json(), created);
}

#[tokio::test]
async fn a_home_and_a_file_can_be_named() {
    let home = Home::new();
    let file = home.path("keys/dev.key");
    let file = file.to_str().unwrap();
    home.run(&["--wallet", file, "wallet", "create", "--network", "mainnet"]).await;
    let shown = home.run(&["wallet", "show", "--wallet", file, "--json"]).await.json();
    assert_eq!(shown["network"], "-239");
    assert!(shown["friendly"].as_str().unwrap().starts_with("UQ"));

    let folder = home.path("client");
    home.run(&["--home", folder.to_str().unwrap(), "wallet", "create"]).await;
    assert_eq!(mode(&folder.join("wallet.json")), 0o600);
}

#[tokio::test]
async fn unusable_files_are_named_with_the_next_step() {
    let home = Home::new();
    home.run(&["wallet", "show"]).await.assert_failed(1, "cocoon wallet create");

    home.run(&["wallet", "create"]).await;
    let file = home.path(".config/cocoon/wallet.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["wallet", "show"]).await.assert_failed(1, "chmod 600");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, r#"{"seed":"00","version":"v5r1","network":"-3"}"#).unwrap();
    home.run(&["wallet", "show"]).await.assert_failed(1, "64 hex digits");
    std::fs::write(&file, "not json").unwrap();
    home.run(&["wallet", "show"]).await.assert_failed(1, "not a wallet");
}
