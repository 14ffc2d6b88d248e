//! One conversation, byte for byte: a change of these is a change of the protocol. The same bytes
//! are in docs/sealed-requests.md, and were read by an implementation that shares no code with this.

use super::*;

/// Of the seed 01…01.
const PUBLIC: &str = "41852320ff367495fa522c94cb83af391e4e89018392725bbf2098dd931bc424";
/// Of the head that the tests share.
const AAD: &str = "\
    8b6d636f636f6f6e2d653265652f3164504f5354742f76312f636861742f636f6d706c6574696f6e73500707\
    07070707070707070707070707076974696e792d64656d6ff51903e818648319012c181e1903841b0000018b\
    cfe9fbe058200909090909090909090909090909090909090909090909090909090909090909";
/// `cocoon-seal-keys` for the workers 1 and 2.
const KEYS: &str = "\
    wrk_0101010101010101010101010101010101010101010101010101010101010101:47lwiqohp_HmKpXuKNH\
    l1gsPzu1saFmQE6VLMY6eCxU:eyTKuVLj6CIjz01-sKRZ30YxOjZjmje0Ajc_z2gaNMgjOghfE3M9AbuypQN_o_b\
    u,wrk_0202020202020202020202020202020202020202020202020202020202020202:oEWIt0aDM09udnDbR\
    cyhKI_CwUmdeHFdlFb12ZJhqCM:LKP0Xp0nXSE9npkT05W_7BvQf7r2rvxBviLmaR49SRxqDViHwoD0c08E0xeWA\
    TD8";
/// `{"model":"tiny-demo"}`, sealed.
const BODY: &str = "\
    c4ca1e729a8df0f6657fd127e1d0aee69f19a2fa9dc931ce04e5439b045d905ea0fdd16a6013beb56aee14ba\
    e1bab295d6f799906bb1fcf314943f30326571b8d0d7410848e32f67f1159b27cfd929f69c30c7f1cf24dd86\
    ce429fff12c556ba960d9eb59628fb811fc7c1b776ec26375d86e062084d0d5b077eaf9f8a36d79214a14940\
    8e5c3245bfb8a12f62af122106d46be2ed7934bf395a29b5ddd1a38d54cf44e9974c404dfb265e8db4ca2cad\
    91c6d018de27343288e05da3838c7bb1ad771ddeb07f76940cc0fc63afc2fe4e3c48ba595afb33d374d4eb32\
    bc44f5a3520288d33bb0620ccac444d7310c47361a899ff5b950c5283205b458d484a88af49a8146f347fca4\
    6f9f30b415a5e10e";
/// What worker 2 salts the parameters with.
const PARAMS_SALT: &str = "9200c1dd0eabc910078686a95a7c092a6ab85d9778f043ea78b375df7fe4eb28";
/// Its first payload: preamble and head.
const FIRST: &str = "\
    01015555555555555555555555555555555555555555555555555555555555555555000001100002f66071f8\
    bdfc4744083beaf94805fd3404af0b09a5f68bee5c316e939f9203fe80d396c384fb4cb80badc15591ca70f3\
    8b436544a403be6029acdd4f24ee21d33189328e14465336338349c839427746cecf10b2d2b5ea0f4926ae1f\
    8525034d981eedb56361d0de824c69666cd54afa210a28b93f89d93dab0f3b0069f52b7a806c2b43b93e75ed\
    9836ddfa3b3c741230bc2e8dbde1ada7efc656adc05fe3e7e5b75d6575a0720849afadd35047f3a41f40adf9\
    4dfbe9b5ec098eeefdc3efbdbae34189255bf2ae7a769ec2e85fb95e333768b41f270f894346bb9594f0323b\
    33390042832705754df40b552333bb4d6c03c8005ad9adaeb90e459208b7c558f8f9fe6c23f46278d3d4fb7e\
    b31bf6";
/// Its second and last payload: `data: [DONE]`.
const LAST: &str = "\
    000001100152b360dc8260c79c003e6dc2277eaa16bab4c1d8cb0e96cad9dd305c6967c08cf7fcf55832a556\
    b5c63e3b0134cfbb596cd708c4551bd7419b444701670e7d5ed1cb0202976f299a5fb6a3a4c09a7e49e5f4cc\
    b8d6b6f64b2851dc2bbeeb6f0f58507b9eb843d0bce9ae9629d2d4802c0529727807fba8815f107699d953ca\
    2c3203d864f8c4c25a53e315729bb2247c99bc21ee6cd75c29d7d66f971ba1f8f3c3ae8cecb1d125a45b13ec\
    49d3075ac4619c442a94dfdc4f249e3fd5f1b780abe13e4f6a3bffe8f9e1f377ffec05ae77dc0b00531599fd\
    10a5c978853b423377ea8ad12c12feb4550b5a79dc10e3ba9ae64306c0e8e498e8379feb0e2ea3ad7dac8f76\
    9224d6792954a3d980e5b11701";

#[test]
fn a_request_has_these_bytes() {
    let workers = [Worker::numbered(1), Worker::numbered(2)];
    assert_eq!(hex::encode(workers[0].key.public()), PUBLIC);
    assert_eq!(hex::encode(head().aad()), AAD);
    let (keys, body, _) = sealed(b"{\"model\":\"tiny-demo\"}", &workers);
    assert_eq!((keys.to_string(), hex::encode(body)), (KEYS.to_owned(), BODY.to_owned()));
}

#[test]
fn an_answer_has_these_bytes() {
    let workers = [Worker::numbered(1), Worker::numbered(2)];
    let keys: SealKeys = KEYS.parse().unwrap();
    let body = hex::decode(BODY).unwrap();
    let opened = workers[1].open(&head(), &keys, &body).unwrap();
    assert_eq!(opened.body.as_slice(), b"{\"model\":\"tiny-demo\"}");
    assert_eq!(hex::encode(opened.params_salt), PARAMS_SALT);
    let mut sealer = opened.answer.sealer(NONCE);
    let first = sealer.frame(FrameKind::Head, &answer_head(), false).unwrap();
    let last = sealer.frame(FrameKind::Data, b"data: [DONE]\n\n", true).unwrap();
    assert_eq!((hex::encode(first), hex::encode(last)), (FIRST.to_owned(), LAST.to_owned()));
    let (_, _, answer_keys) = sealed(b"", &workers);
    let wire = hex::decode(format!("{FIRST}{LAST}")).unwrap();
    let frames = read(&answer_keys, &wire).unwrap();
    assert_eq!(
        (&frames[0].data[..], &frames[1].data[..]),
        (&answer_head()[..], &b"data: [DONE]\n\n"[..])
    );
}
