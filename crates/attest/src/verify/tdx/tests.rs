//! What a guest's attributes give away. No sample has all of them, and a changed one has no signature.

use super::*;

/// A sample's body with these attributes, as the library reads it.
fn with_attributes(attributes: [u8; 8]) -> Option<Report> {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence/tdx/cocoon_quote.dat");
    let Ok(mut bytes) = std::fs::read(path) else {
        eprintln!("SKIPPED: there is no evidence at {path}");
        return None;
    };
    // Behind the header: the module's versions, its measurements and its attributes.
    let at = 48 + 16 + 48 + 48 + 8;
    assert_eq!(bytes[at..at + 8], [0, 0, 0, 0x10, 0, 0, 0, 0]);
    bytes[at..at + 8].copy_from_slice(&attributes);
    Some(Quote::parse(&bytes).unwrap().report)
}

#[test]
fn each_attribute_has_its_reason() {
    let fault = |fault| Err(Refusal::Guest(fault));
    for (attributes, expected) in [
        ([0, 0, 0, 0x10, 0, 0, 0, 0], Ok(())),
        // Protection keys and performance counters, which a guest may use.
        ([0, 0, 0, 0x50, 0, 0, 0, 0x80], Ok(())),
        ([0, 0, 0, 0, 0, 0, 0, 0], fault(GuestFault::SeptVeEnabled)),
        ([1, 0, 0, 0x10, 0, 0, 0, 0], fault(GuestFault::Debug)),
        ([1, 0, 0, 0, 0, 0, 0, 0], fault(GuestFault::Debug)),
        ([2, 0, 0, 0x10, 0, 0, 0, 0], fault(GuestFault::Attributes)),
        ([0, 1, 0, 0x10, 0, 0, 0, 0], fault(GuestFault::Attributes)),
        ([0, 0, 0, 0x30, 0, 0, 0, 0], fault(GuestFault::Attributes)),
    ] {
        let Some(report) = with_attributes(attributes) else { return };
        assert_eq!(check_attributes(&report), expected, "{attributes:?}");
    }
}
