//! Quotes and collateral made up here: shapes, lengths and whatever else arrives.

use cocoon_attest::verify::Outcome;
use cocoon_attest::verify::tdx::{
    COLLATERAL_BYTES_MAX, Collateral, CollateralError, Malformed, Refusal, appraise,
};
use cocoon_primitives::Timestamp;
use proptest::prelude::*;
use serde_json::json;

/// Readable, and signed by nobody.
fn collateral() -> Collateral {
    let tcb_info = json!({
        "id": "TDX", "version": 3, "issueDate": "2026-01-01T00:00:00Z",
        "nextUpdate": "2026-02-01T00:00:00Z", "fmspc": "50F700000000", "pceId": "0000",
        "tcbType": 0, "tcbEvaluationDataNumber": 1, "tcbLevels": []
    });
    let qe_identity = json!({
        "id": "TD_QE", "version": 2, "issueDate": "2026-01-01T00:00:00Z",
        "nextUpdate": "2026-02-01T00:00:00Z", "tcbEvaluationDataNumber": 1,
        "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": "00".repeat(16), "attributesMask": "00".repeat(16),
        "mrsigner": "00".repeat(32), "isvprodid": 2, "tcbLevels": []
    });
    let collateral = json!({
        "pck_crl_issuer_chain": "", "root_ca_crl": "", "pck_crl": "",
        "tcb_info_issuer_chain": "", "tcb_info": tcb_info.to_string(),
        "tcb_info_signature": "", "qe_identity_issuer_chain": "",
        "qe_identity": qe_identity.to_string(), "qe_identity_signature": ""
    });
    Collateral::parse(collateral.to_string().as_bytes()).expect("it is readable")
}

type Checks = Vec<(&'static str, Outcome)>;

/// The checks that ran and the refusal, of a quote that cannot be accepted.
fn judge(quote: &[u8]) -> Result<(Checks, Refusal), Malformed> {
    let verdict = appraise(quote, &collateral(), None, Timestamp::from_seconds(1_768_000_000))?;
    assert_eq!(verdict.accepted(), None);
    let checks = verdict.checks().iter().map(|check| (check.name, check.outcome)).collect();
    Ok((checks, verdict.refusal().expect("nothing of it is signed").clone()))
}

/// The parts of a quote that vary; everything else is `fill`.
#[derive(Debug, Clone)]
struct Shape {
    version: u16,
    tee: u32,
    body_kind: u16,
    body_bytes: u32,
    qe_report_kind: u16,
    chain_kind: u16,
    chain: Vec<u8>,
    /// Behind the chain, behind the certification data, and behind the quote.
    behind: [Vec<u8>; 3],
    fill: u8,
}

const PLAIN: Shape = Shape {
    version: 4,
    tee: 0x81,
    body_kind: 2,
    body_bytes: 584,
    qe_report_kind: 6,
    chain_kind: 5,
    chain: Vec::new(),
    behind: [const { Vec::new() }; 3],
    fill: 7,
};

impl Shape {
    fn bytes(&self) -> Vec<u8> {
        let fill = |count: usize| vec![self.fill; count];
        let count = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a short part").to_le_bytes();
        let mut certification =
            [fill(384 + 64).as_slice(), &32u16.to_le_bytes(), &fill(32)].concat();
        certification.extend(self.chain_kind.to_le_bytes());
        certification.extend(count(&self.chain));
        certification.extend(&self.chain);
        certification.extend(&self.behind[0]);
        let mut auth = [fill(128).as_slice(), &self.qe_report_kind.to_le_bytes()].concat();
        auth.extend(count(&certification));
        auth.extend(certification);
        auth.extend(&self.behind[1]);
        let mut quote = [self.version, 2].map(u16::to_le_bytes).concat();
        quote.extend(self.tee.to_le_bytes());
        quote.extend(fill(40));
        if self.version == 5 {
            quote.extend(self.body_kind.to_le_bytes());
            quote.extend(self.body_bytes.to_le_bytes());
        }
        quote.extend(fill(usize::try_from(self.body_bytes).expect("a short body")));
        quote.extend(count(&auth));
        quote.extend(auth);
        quote.extend(&self.behind[2]);
        quote
    }
}

#[test]
fn each_shape_has_its_reason() {
    let five = Shape { version: 5, ..PLAIN };
    let one = vec![1];
    for (shape, expected) in [
        (PLAIN, Ok(Refusal::QuoteSignature)),
        (Shape { behind: [vec![], vec![], vec![0; 70]], ..PLAIN }, Ok(Refusal::QuoteSignature)),
        (five.clone(), Ok(Refusal::QuoteSignature)),
        (Shape { body_kind: 3, body_bytes: 648, ..five.clone() }, Ok(Refusal::QuoteSignature)),
        (Shape { body_kind: 4, body_bytes: 885, ..five.clone() }, Ok(Refusal::QuoteSignature)),
        (Shape { body_kind: 3, ..five.clone() }, Err(Malformed::Part)),
        (Shape { body_bytes: 886, ..five.clone() }, Err(Malformed::Part)),
        (Shape { body_kind: 1, body_bytes: 384, ..five }, Ok(Refusal::NotTdx)),
        (Shape { tee: 0, ..PLAIN }, Ok(Refusal::NotTdx)),
        (Shape { version: 3, ..PLAIN }, Ok(Refusal::Version(3))),
        (Shape { version: 6, ..PLAIN }, Ok(Refusal::Version(6))),
        (Shape { qe_report_kind: 5, ..PLAIN }, Err(Malformed::Part)),
        (Shape { chain_kind: 3, ..PLAIN }, Err(Malformed::Part)),
        (Shape { behind: [one.clone(), vec![], vec![]], ..PLAIN }, Err(Malformed::Part)),
        (Shape { behind: [vec![], one.clone(), vec![]], ..PLAIN }, Err(Malformed::Part)),
        (Shape { behind: [vec![], vec![], one], ..PLAIN }, Ok(Refusal::BytesBehind)),
        (Shape { chain: vec![b'x'; 16 * 1024], ..PLAIN }, Err(Malformed::TooLong)),
    ] {
        assert_eq!(judge(&shape.bytes()).map(|(_, refusal)| refusal), expected, "{shape:?}");
    }
}

#[test]
fn a_quote_that_ends_early_is_truncated() {
    let quote = PLAIN.bytes();
    for end in 0..quote.len() {
        assert_eq!(judge(&quote[..end]).unwrap_err(), Malformed::Truncated, "{end}");
    }
}

#[test]
fn what_is_no_collateral_is_named() {
    let parse = |bytes: &[u8]| Collateral::parse(bytes).unwrap_err();
    assert!(matches!(parse(b"{}"), CollateralError::Json(_)));
    assert!(matches!(parse(&vec![b' '; COLLATERAL_BYTES_MAX + 1]), CollateralError::TooLong));
}

proptest! {
    #[test]
    fn a_shape_that_is_written_is_read(
        chain in prop::collection::vec(any::<u8>(), 0..2000),
        zeros in 0..200usize,
        fill in any::<u8>(),
    ) {
        let shape = Shape { chain, fill, behind: [vec![], vec![], vec![0; zeros]], ..PLAIN };
        let (checks, refusal) = judge(&shape.bytes()).unwrap();
        prop_assert_eq!(checks[0], ("format", Outcome::Passed));
        prop_assert_eq!(refusal, Refusal::QuoteSignature);
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = judge(&bytes);
    }

    #[test]
    fn a_damaged_quote_never_panics(offset in 0..1300usize, value in any::<u32>()) {
        let mut quote = PLAIN.bytes();
        let end = (offset + 4).min(quote.len());
        let start = end - 4;
        quote[start..end].copy_from_slice(&value.to_le_bytes());
        let _ = judge(&quote);
    }

    #[test]
    fn collateral_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(Collateral::parse(&bytes).is_err());
    }
}
