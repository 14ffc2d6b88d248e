//! Wallets from a seed, against addresses made by another implementation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_ton::{Network, Wallet, WalletVersion};
use ton_core::cell::BoC;

/// Addresses of the seed `01 02 … 20`, made with `@ton/ton` 16.3.0. It has no v4r1.
const ADDRESSES: [(&str, Network, &str); 10] = [
    ("v1r1", Network::Mainnet, "c31a66c96cbd3012d713b58619181f606a59d3f46485a3e73f7aebe98862583c"),
    ("v1r2", Network::Mainnet, "286f5b39989ee5f078c3d7b7b9842a9102bc3321cae61ca8df00a47c5c37acb8"),
    ("v1r3", Network::Testnet, "40d6645077083b3cd3a9d4e9831750c36664f51928d6518c197909e8b84b4e5b"),
    ("v2r1", Network::Mainnet, "4e2abd9799782352cc792ab72b4622fc3739c2911478c7575846bf2d31c57c09"),
    ("v2r2", Network::Mainnet, "74edcba923787a39f59610433f499fdd26bd42a23fcf8298bf22054dda9d2b07"),
    ("v3r1", Network::Mainnet, "83b2b58c2e4b018b788ff264f723a492facbc39f2d80272161973b77e9114ea8"),
    ("v3r2", Network::Testnet, "e8275866cbf174de95888f0ad3373f99dbc883bec5f3df48503550bcea934337"),
    ("v4r2", Network::Mainnet, "e71f2b5f35e5cd52f7dd471e359e5b15a93fc3b88fd6bc5cccacd9d5afb9fc85"),
    ("v5r1", Network::Mainnet, "2bfb4096c377e5289c06fa4a388baed95421c97600ea11a60a608a14215485b5"),
    ("v5r1", Network::Testnet, "ae30aa428f941b7d2c62560372d3ee978a12e3a087cf2246bde1618aaba16b8d"),
];

fn seed() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i + 1).expect("at most 32"))
}

#[test]
fn addresses_are_those_of_other_implementations() {
    for (version, network, hash) in ADDRESSES {
        let wallet = Wallet::from_seed(&seed(), version.parse().unwrap(), network);
        assert_eq!(wallet.address().to_string(), format!("0:{hash}"), "{version}");
    }
}

#[test]
fn every_code_cell_has_the_hash_of_its_version() {
    let readme = include_str!("../../wallet-code/README.md");
    for version in WalletVersion::ALL {
        let wallet = Wallet::from_seed(&seed(), version, Network::Mainnet);
        let boc = STANDARD.decode(wallet.state_init()).unwrap();
        let root = BoC::from_bytes(boc).unwrap().single_root().unwrap();
        let code_hash = root.refs()[0].hash().unwrap().to_hex();
        let row = readme.lines().find(|line| line.contains(&format!("`{version}.boc.b64`")));
        assert!(row.unwrap().ends_with(&format!("`{code_hash}` |")), "{version}: {code_hash}");
    }
}

#[test]
fn one_key_has_different_w5_addresses_on_the_two_networks() {
    let [main, test] = [Network::Mainnet, Network::Testnet]
        .map(|network| Wallet::from_seed(&seed(), WalletVersion::V5R1, network));
    assert_eq!(main.public_key(), test.public_key());
    assert_ne!(main.address(), test.address());
}

#[test]
fn debug_output_has_no_key() {
    let wallet = Wallet::from_seed(&[0xAB; 32], WalletVersion::V5R1, Network::Mainnet);
    let text = format!("{wallet:?}").to_lowercase();
    assert!(!text.contains("abab") && !text.contains("171, 171"), "{text}");
}
