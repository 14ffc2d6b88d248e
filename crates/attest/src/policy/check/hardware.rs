//! The rules for processors and GPUs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Findings;
use crate::policy::raw;
use crate::policy::rules::{GpuRow, SnpRules, TdxRules};
use crate::verify::nvidia::Architecture;
use crate::verify::nvidia::golden::Golden;
use crate::verify::snp::{Product, Tcb};

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// What an advisory may be accepted for; `Revoked` never is.
const STATUSES: [&str; 8] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
];

pub(super) fn tdx(findings: &mut Findings, raw: &raw::Tdx) -> Option<TdxRules> {
    for (index, status) in raw.tcb_status.iter().enumerate() {
        if !STATUSES.contains(&status.as_str()) {
            let known = STATUSES.join(", ");
            findings.add(format!("tdx.tcb_status[{index}]"), format!("must be one of {known}"));
        }
    }
    for (index, advisory) in raw.denied_advisories.iter().enumerate() {
        findings.text(&format!("tdx.denied_advisories[{index}]"), advisory);
    }
    findings.rows("tdx.xfam", &raw.xfam);
    findings.rows("tdx.mr_seam", &raw.mr_seam);
    findings.rows("tdx.denied_advisories", &raw.denied_advisories);
    let mut xfam = Vec::new();
    for (index, text) in raw.xfam.iter().enumerate() {
        xfam.extend(findings.hex(&format!("tdx.xfam[{index}]"), text));
    }
    let mut mr_seam = Vec::new();
    for (index, text) in raw.mr_seam.iter().enumerate() {
        mr_seam.extend(findings.hex(&format!("tdx.mr_seam[{index}]"), text));
    }
    Some(TdxRules {
        tcb_status: raw.tcb_status.clone(),
        min_tcb_eval: raw.min_tcb_eval,
        platform_grace: Duration::from_secs(u64::from(raw.platform_grace_days) * DAY_SECONDS),
        allow_dynamic_platform: raw.allow_dynamic_platform,
        td_attributes: findings.hex("tdx.td_attributes", &raw.td_attributes)?,
        xfam,
        mr_seam,
        denied_advisories: raw.denied_advisories.clone(),
        min_root_crl: raw.min_root_crl,
        min_pck_crl: raw.min_pck_crl,
    })
}

pub(super) fn snp(findings: &mut Findings, raw: &raw::Snp) -> SnpRules {
    if raw.allow_vlek {
        findings.add("snp.allow_vlek", "must be false: operators' keys are not accepted");
    }
    let mut floors: Vec<(Product, Tcb)> = Vec::new();
    for (index, name) in raw.products.iter().enumerate() {
        let field = format!("snp.products[{index}]");
        let Some(product) = findings.value(&field, product(name)) else { continue };
        if floors.iter().any(|(known, _)| *known == product) {
            findings.add(field, "is there twice");
            continue;
        }
        let Some(tcb) = raw.min_tcb.get(name) else {
            findings.add(format!("snp.min_tcb.{name}"), "must be there: the product is listed");
            continue;
        };
        if (product == Product::Turin) != tcb.fmc.is_some() {
            findings.add(format!("snp.min_tcb.{name}.fmc"), "is a part of Turin, and of no other");
        }
        let raw::Tcb { fmc, bl, tee, snp, ucode } = *tcb;
        floors.push((product, Tcb { fmc, bl, tee, snp, ucode }));
    }
    for name in raw.min_tcb.keys().filter(|name| !raw.products.contains(name)) {
        findings.add(format!("snp.min_tcb.{name}"), "is the floor of a product that is not listed");
    }
    let min_crl_date = raw.min_crl_date.as_ref();
    SnpRules {
        floors,
        allow_smt: raw.allow_smt,
        require_alias_check: raw.require_alias_check,
        min_crl_date: min_crl_date.and_then(|text| findings.time("snp.min_crl_date", text)),
    }
}

fn product(name: &str) -> Result<Product, &'static str> {
    match name {
        "Genoa" => Ok(Product::Genoa),
        "Turin" => Ok(Product::Turin),
        "Milan" => Err("chips of the line Milan do not keep their secrets: remove it"),
        _ => Err("must be \"Genoa\" or \"Turin\""),
    }
}

pub(super) fn gpus(findings: &mut Findings, raw: &[raw::Gpu]) -> Vec<GpuRow> {
    findings.rows("gpu", raw);
    let mut rows = Vec::new();
    for (index, row) in raw.iter().enumerate() {
        let at = format!("gpu[{index}]");
        findings.rows(&format!("{at}.drivers"), &row.drivers);
        findings.rows(&format!("{at}.vbios"), &row.vbios);
        for (name, list) in [("drivers", &row.drivers), ("vbios", &row.vbios)] {
            for (index, text) in list.iter().enumerate() {
                findings.text(&format!("{at}.{name}[{index}]"), text);
            }
        }
        let mut modes = Vec::new();
        for (index, text) in row.mode.iter().enumerate() {
            modes.extend(findings.value(&format!("{at}.mode[{index}]"), mode(text)));
        }
        let golden = golden(findings, &at, &row.golden);
        let architecture = findings.value(&format!("{at}.arch"), architecture(&row.arch));
        let Some(architecture) = architecture else { continue };
        let drivers = row.drivers.clone();
        let vbios = row.vbios.iter().map(|version| version.to_ascii_uppercase()).collect();
        rows.push(GpuRow { architecture, drivers, vbios, modes, golden });
    }
    rows
}

fn golden(
    findings: &mut Findings,
    at: &str,
    raw: &BTreeMap<String, Vec<String>>,
) -> Option<Golden> {
    let mut golden = BTreeMap::new();
    for (index, values) in raw {
        let field = format!("{at}.golden.{index}");
        // One way to write each number, so that none stands twice.
        let number = index.parse::<u8>().ok().filter(|number| number.to_string() == *index);
        let number = findings.value(&field, number.ok_or("must be the index of a measurement"));
        golden.extend(number.map(|number| (number, values.clone())));
    }
    if raw.is_empty() {
        return None;
    }
    match Golden::new(golden) {
        Ok(golden) => Some(golden),
        Err(malformed) => {
            findings.add(format!("{at}.golden"), malformed.to_string());
            None
        }
    }
}

fn architecture(text: &str) -> Result<Architecture, &'static str> {
    match text {
        "HOPPER" => Ok(Architecture::Hopper),
        "BLACKWELL" => Ok(Architecture::Blackwell),
        "LS10" => Ok(Architecture::Ls10),
        _ => Err("must be \"HOPPER\", \"BLACKWELL\" or \"LS10\""),
    }
}

/// The feature flag that a report carries.
fn mode(text: &str) -> Result<u16, &'static str> {
    match text {
        "MPT" => Ok(0),
        "SPT" => Ok(1),
        "PPCIE" => Ok(2),
        _ => Err("must be \"SPT\", \"MPT\" or \"PPCIE\""),
    }
}
