use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{HeadFault, headers};

fn written(head: &Head) -> HashMap<&'static str, String> {
    head.write().into_iter().collect()
}

fn read(path: &str, map: &HashMap<&'static str, String>) -> Result<Head, crate::HeadError> {
    Head::read(path, |name| map.get(name).map(String::as_str))
}

#[test]
fn a_head_is_read_as_it_was_written() {
    let map = written(&head());
    assert_eq!(read("/v1/chat/completions", &map), Ok(head()));
    let names: Vec<_> = head().write().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, headers::HEAD);
}

#[test]
fn every_header_has_to_be_there() {
    for name in headers::HEAD {
        let mut map = written(&head());
        map.remove(name);
        let error = read("/v1/chat/completions", &map).unwrap_err();
        assert_eq!((error.header, error.reason), (name, HeadFault::Missing));
    }
}

#[test]
fn a_value_has_one_form() {
    let id = "req_07070707070707070707070707070707";
    let hex = "0a".repeat(32);
    let table: [(&'static str, &[&str]); 8] = [
        (headers::REQUEST_ID, &["", "7", &id[4..], "req_0A070707070707070707070707070707"]),
        (headers::MODEL, &["", "a b", "é", &"m".repeat(201)]),
        (headers::STREAM, &["", "2", "true", "01", "1,1"]),
        (headers::MAX_PROMPT_TOKENS, &["", "-1", "+1", "007", " 1", "18446744073709551616"]),
        (headers::MAX_TOKENS, &["", "4294967296", "1.0", "1e3", "00"]),
        (headers::MAX_PRICE, &["", "1,2", "1,2,3,4", "1,2,", "1, 2,3", "01,2,3"]),
        (headers::NOT_AFTER, &["", "soon", "0x10", "00"]),
        (headers::PAY_COMMIT, &["", "zz", &hex[2..], &hex.to_uppercase()]),
    ];
    for (name, values) in table {
        for value in values {
            let mut map = written(&head());
            map.insert(name, (*value).to_owned());
            let error = read("/v1/chat/completions", &map).unwrap_err();
            assert_eq!((error.header, error.reason), (name, HeadFault::Malformed), "{value}");
        }
    }
    for path in ["", "v1", "/v1/chat?a=1", "/é", "/a b", &"/a".repeat(65)] {
        assert_eq!(read(path, &written(&head())).unwrap_err().header, ":path", "{path}");
    }
}

#[test]
fn an_end_is_ahead_and_not_far() {
    let head = head();
    let at = |ms| Timestamp::from_millis(ms);
    let end = head.not_after.as_millis();
    let reason = |now| head.check_time(now).map_err(|error| error.reason);
    assert_eq!(reason(at(end)), Ok(()));
    assert_eq!(reason(at(end + 1)), Err(HeadFault::Late));
    assert_eq!(reason(at(end - 360_000)), Ok(()));
    assert_eq!(reason(at(end - 360_001)), Err(HeadFault::Early));
    assert_eq!(head.remembered_until(), at(end + 60_000));
}

proptest! {
    #[test]
    fn any_head_survives(
        (path, id, model) in ("(/[a-z0-9_.-]{1,20}){1,4}", any::<[u8; 16]>(), "[A-Za-z0-9._:/@+-]{1,60}"),
        (is_stream, max_prompt_tokens, max_tokens) in any::<(bool, u64, u32)>(),
        (max_price, not_after, pay_commit) in any::<([u64; 3], u64, [u8; 32])>(),
    ) {
        let head = Head {
            path: path.clone(),
            request_id: RequestId::from_bytes(id),
            model: model.parse().unwrap(),
            is_stream,
            max_prompt_tokens,
            max_tokens,
            max_price,
            not_after: Timestamp::from_millis(not_after),
            pay_commit,
        };
        prop_assert_eq!(read(&path, &written(&head)), Ok(head));
    }

    #[test]
    fn no_headers_panic(path in ".{0,40}", values in prop::collection::vec(".{0,80}", 8)) {
        let map = headers::HEAD.into_iter().zip(values).collect();
        let _ = read(&path, &map);
    }
}
