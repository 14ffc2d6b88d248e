//! A real GPU against the vendor's manifests of its firmware, and lists that are none.

use super::*;
use crate::verify::nvidia::tests::{at_the_samples_time, file};
use proptest::prelude::*;

/// Which values a manifest allows: just enough XML to read these files, whose signatures are not checked.
fn manifest(name: &str) -> Option<Golden> {
    let text = String::from_utf8(file(name)?).unwrap();
    let mut golden = BTreeMap::new();
    for resource in text.split('<').filter(|tag| tag.contains(":Resource ")) {
        let attribute = |name: &str| {
            let (_, rest) = resource.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        if attribute("active").as_deref() == Some("True") {
            let values = (0..).map_while(|number| attribute(&format!("Hash{number}"))).collect();
            golden.insert(attribute("index").unwrap().parse().unwrap(), values);
        }
    }
    Some(Golden::new(golden).unwrap())
}

#[test]
fn a_gpu_measured_what_its_firmware_s_manifest_says() {
    let device = at_the_samples_time("hopperAttestationReport.txt", "hopperCertChain.txt");
    let Some(device) = device else { return };
    assert_eq!(device.vbios_version.as_deref(), Some("96.00.5E.00.01"));
    for name in
        ["1010_0200_882_96005E0001_PROD.swidtag", "nvt_1010_0200_882_96005E0001_PROD.swidtag"]
    {
        let Some(golden) = manifest(name) else { return };
        assert_eq!(compare(&golden, &device), Ok(12), "{name}");
    }
}

#[test]
fn a_manifest_with_another_value_does_not_match() {
    let device = at_the_samples_time("hopperAttestationReport.txt", "hopperCertChain.txt");
    let (Some(device), Some(golden)) = (device, manifest("vb_mm.xml")) else { return };
    assert_eq!(compare(&golden, &device).unwrap_err().indices(), [9]);
    // The firmware of another board.
    let Some(other) = manifest("1010_0205_862_96005E0004_PROD.swidtag") else { return };
    assert!(compare(&other, &device).is_err());
}

/// The decoder is off in every public sample.
#[test]
fn a_decoder_that_is_off_is_not_compared() {
    let device = at_the_samples_time("hopperAttestationReport.txt", "hopperCertChain.txt");
    let Some(mut device) = device else { return };
    assert_eq!(device.nvdec0, Some(Status::Disabled));
    let golden = |indices: &[u8]| {
        let rows = indices.iter().map(|index| (*index, vec!["ff".to_owned()])).collect();
        Golden::new(rows).unwrap()
    };
    let mut both = golden(&[OF_NVDEC0, 1]);
    both.0.insert(1, vec![device.measurements[1].clone()]);
    assert_eq!(compare(&both, &device), Ok(1));
    // It alone is nothing to go by.
    assert_eq!(compare(&golden(&[OF_NVDEC0]), &device).unwrap_err().indices(), [OF_NVDEC0]);
    for nvdec0 in [Some(Status::Enabled), None] {
        device.nvdec0 = nvdec0;
        assert_eq!(compare(&both, &device).unwrap_err().indices(), [OF_NVDEC0]);
    }
    assert_eq!(compare(&golden(&[64]), &device).unwrap_err().indices(), [64]);
}

#[test]
fn what_is_no_list_is_named() {
    let parse = |text: &str| Golden::parse(text.as_bytes()).map(|_| ());
    assert_eq!(parse(r#"{"measurements": {"0": ["00", "FF"], "255": ["ab"]}}"#), Ok(()));
    for (text, expected) in [
        ("[]", Malformed::Json),
        ("{}", Malformed::Json),
        (r#"{"measurements": {}, "more": 1}"#, Malformed::Json),
        (r#"{"measurements": {"256": ["00"]}}"#, Malformed::Json),
        (r#"{"measurements": {"-1": ["00"]}}"#, Malformed::Json),
        (r#"{"measurements": {}}"#, Malformed::Empty),
        (r#"{"measurements": {"0": []}}"#, Malformed::Empty),
        (r#"{"measurements": {"0": [""]}}"#, Malformed::Value),
        (r#"{"measurements": {"0": ["0"]}}"#, Malformed::Value),
        (r#"{"measurements": {"0": ["0g"]}}"#, Malformed::Value),
    ] {
        assert_eq!(parse(text), Err(expected), "{text}");
    }
    let long = format!(r#"{{"measurements": {{"0": ["{}"]}}}}"#, "00".repeat(65));
    assert_eq!(parse(&long), Err(Malformed::Value));
    let many = format!(r#"{{"measurements": {{"0": [{}"00"]}}}}"#, "\"00\",".repeat(64));
    assert_eq!(parse(&many), Err(Malformed::Value));
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Golden::parse(&bytes).is_err());
    }
}
