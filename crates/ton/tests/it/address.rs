//! The user-friendly form, against addresses printed by another implementation.

use cocoon_primitives::WalletAddress;
use cocoon_ton::{AddressForm, Network, format_address, parse_address};
use proptest::prelude::*;

const RAW: &str = "0:2bfb4096c377e5289c06fa4a388baed95421c97600ea11a60a608a14215485b5";

#[test]
fn forms_are_those_of_other_implementations() {
    let forms = [
        ("EQAr-0CWw3flKJwG-ko4i67ZVCHJdgDqEaYKYIoUIVSFtdWS", Network::Mainnet, true),
        ("UQAr-0CWw3flKJwG-ko4i67ZVCHJdgDqEaYKYIoUIVSFtYhX", Network::Mainnet, false),
        ("kQAr-0CWw3flKJwG-ko4i67ZVCHJdgDqEaYKYIoUIVSFtW4Y", Network::Testnet, true),
        ("0QAr-0CWw3flKJwG-ko4i67ZVCHJdgDqEaYKYIoUIVSFtTPd", Network::Testnet, false),
    ];
    let address: WalletAddress = RAW.parse().unwrap();
    for (text, network, bounceable) in forms {
        let form = AddressForm { network, bounceable };
        assert_eq!(format_address(&address, form), text);
        assert_eq!(parse_address(text), Ok((address, Some(form))));
    }
    assert_eq!(parse_address(RAW), Ok((address, None)));
}

#[test]
fn both_base64_alphabets_are_read() {
    let text = "EQAr+0CWw3flKJwG+ko4i67ZVCHJdgDqEaYKYIoUIVSFtdWS";
    assert_eq!(parse_address(text).unwrap().0.to_string(), RAW);
}

#[test]
fn a_changed_character_is_noticed() {
    let text = "EQAr-0CWw3flKJwG-ko4i67ZVCHJdgDqEaYKYIoUIVSFtdWS";
    for i in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(parse_address(&changed).is_err(), "{changed} was read as an address");
    }
}

proptest! {
    #[test]
    fn every_address_reads_back(
        workchain in any::<i8>(),
        hash in any::<[u8; 32]>(),
        bounceable in any::<bool>(),
        is_test in any::<bool>(),
    ) {
        let network = if is_test { Network::Testnet } else { Network::Mainnet };
        let address = WalletAddress::new(workchain, hash);
        let form = AddressForm { network, bounceable };
        let text = format_address(&address, form);
        prop_assert_eq!(parse_address(&text), Ok((address, Some(form))));
        prop_assert_eq!(parse_address(&address.to_string()), Ok((address, None)));
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse_address(&text);
    }

    #[test]
    fn arbitrary_text_of_the_right_length_never_panics(text in "[A-Za-z0-9_+/-]{48}") {
        let _ = parse_address(&text);
    }
}
