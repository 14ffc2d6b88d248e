//! Four real GPUs together, and what they are no machine for.

use super::*;
use crate::verify::nvidia::tests::{at_the_samples_time, of_four_gpus};

fn nonce(devices: &[Claims]) -> [u8; 32] {
    hex::decode(&devices[0].nonce).unwrap().try_into().unwrap()
}

#[test]
fn four_different_gpus_are_a_machine_of_four() {
    let Some(devices) = of_four_gpus() else { return };
    assert_eq!(check(&devices, 4, &nonce(&devices)), Ok(()));
    assert_eq!(check(&devices[..1], 1, &nonce(&devices)), Ok(()));
    assert_eq!(check(&[], 0, &[0; 32]), Ok(()));
}

#[test]
fn anything_else_has_its_reason() {
    let Some(devices) = of_four_gpus() else { return };
    let nonce = nonce(&devices);
    let found = |found, expected| Err(Fault::Count { found, expected });
    assert_eq!(check(&devices[1..], 4, &nonce), found(3, 4));
    assert_eq!(check(&devices, 3, &nonce), found(4, 3));
    assert_eq!(check(&[], 1, &nonce), found(0, 1));
    let twice = [&devices[..], &devices[..1]].concat();
    assert_eq!(check(&twice, 5, &nonce), Err(Fault::Repeated));
    // One chip with other firmware has another signer, and is one chip.
    let mut updated = devices.clone();
    updated[3].device_serial.clone_from(&devices[0].device_serial);
    assert_eq!(check(&updated, 4, &nonce), Err(Fault::Repeated));
    assert_eq!(check(&devices, 4, &[0; 32]), Err(Fault::Nonce));
    let mut stale = devices.clone();
    stale[3].nonce = hex::encode([0; 32]);
    assert_eq!(check(&stale, 4, &nonce), Err(Fault::Nonce));
    let mut mixed = devices.clone();
    mixed[3].architecture = Some(Architecture::Blackwell);
    assert_eq!(check(&mixed, 4, &nonce), Err(Fault::Mixed));
    mixed[3].architecture = None;
    assert_eq!(check(&mixed, 4, &nonce), Err(Fault::Architecture));
    // A switch is no GPU.
    mixed[3].architecture = Some(Architecture::Ls10);
    assert_eq!(check(&mixed, 4, &nonce), found(3, 4));
    assert_eq!(check(&mixed, 3, &nonce), Ok(()));
}

#[test]
fn gpus_with_protected_pcie_need_their_switches() {
    let Some(gpus) = of_four_gpus() else { return };
    assert_eq!(gpus[0].protected_pcie, Some(Status::Enabled));
    assert_eq!(check_switches(&gpus), Err(Fault::Switches));
    let Some(switch) = at_the_samples_time("switchAttestationReport.txt", "switchCertChain.txt")
    else {
        return;
    };
    let linked = linked(&gpus[0].switch_pdis);
    assert_eq!(linked.len(), 4);
    let switches =
        linked.iter().map(|pdi| Claims { switch_pdis: vec![(*pdi).to_owned()], ..switch.clone() });
    let whole: Vec<_> = gpus.iter().cloned().chain(switches).collect();
    assert_eq!(check_switches(&whole), Ok(()));
    assert_eq!(check_switches(&whole[..7]), Err(Fault::Switches));
    let more = [&whole[..], std::slice::from_ref(&switch)].concat();
    assert_eq!(check_switches(&more), Err(Fault::Switches));
    let mut open = gpus.clone();
    open.iter_mut().for_each(|gpu| gpu.protected_pcie = Some(Status::Disabled));
    assert_eq!(check_switches(&open), Ok(()));
}
