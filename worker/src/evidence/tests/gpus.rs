use std::fs;
use std::path::Path;

use cocoon_attest::evidence::{CHAIN_BYTES_MAX, DeviceKind, REPORT_BYTES_MAX};

use super::super::nvidia::{GpuError, Known, NvidiaGpus, device, judge, on_bus};
use super::*;

fn known(count: u32) -> Known {
    Known { count, is_confidential: true, has_devtools: false }
}

#[test]
fn bus_library_and_configuration_must_agree() {
    let good = GpuPolicy { gpu_count: 2, cc_on: true, devtools: false };
    assert_eq!(judge(2, 2, known(2)).unwrap(), good);
    for (expected, on_bus, count) in [(2, 2, 1), (2, 1, 2), (1, 2, 2), (2, 3, 3), (2, 0, 0)] {
        let refused = judge(expected, on_bus, known(count));
        assert!(matches!(refused, Err(GpuError::Count { .. })), "{expected} {on_bus} {count}");
    }
    let open = Known { is_confidential: false, ..known(2) };
    assert!(matches!(judge(2, 2, open), Err(GpuError::NotConfidential)));
    let debugged = Known { has_devtools: true, ..known(2) };
    assert!(matches!(judge(2, 2, debugged), Err(GpuError::Devtools)));
}

#[test]
fn only_gpus_of_the_one_maker_are_counted() {
    let bus = tempfile::tempdir().unwrap();
    for (name, vendor, class) in [
        ("0000:01:00.0", "0x10de\n", "0x030200\n"),
        ("0000:02:00.0", "0x10de\n", "0x030000\n"),
        // A switch and a sound device of the same maker, a GPU of another, and nothing at all.
        ("0000:03:00.0", "0x10de\n", "0x068000\n"),
        ("0000:04:00.1", "0x10de\n", "0x040300\n"),
        ("0000:05:00.0", "0x1002\n", "0x030000\n"),
        ("0000:06:00.0", "", ""),
    ] {
        let device = bus.path().join(name);
        fs::create_dir(&device).unwrap();
        fs::write(device.join("vendor"), vendor).unwrap();
        fs::write(device.join("class"), class).unwrap();
    }
    assert_eq!(on_bus(bus.path()).unwrap(), 2);
    assert!(matches!(on_bus(&bus.path().join("none")), Err(GpuError::Bus { .. })));
}

#[test]
fn a_worker_without_gpus_needs_no_library() {
    let none = NvidiaGpus::new(0, Path::new("/nowhere").to_owned());
    assert_eq!(none.check().unwrap(), NO_GPUS);
    assert!(none.reports([0; 32]).unwrap().is_empty());
}

#[test]
fn a_report_keeps_to_its_bounds() {
    let made = device(0, vec![1], b"-----END CERTIFICATE-----\n\0\0").unwrap();
    assert_eq!(made.kind, DeviceKind::Nvidia);
    assert_eq!(made.chain, b"-----END CERTIFICATE-----\n");
    for report in [Vec::new(), vec![1; REPORT_BYTES_MAX + 1]] {
        assert!(matches!(device(3, report, b"x"), Err(GpuError::Report(3))));
    }
    for chain in [vec![0; 9], vec![1; CHAIN_BYTES_MAX + 1]] {
        assert!(matches!(device(3, vec![1], &chain), Err(GpuError::Chain(3))));
    }
}
