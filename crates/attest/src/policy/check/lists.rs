//! The lists: images, models, machines, and what is revoked.

use cocoon_primitives::{Digest, ModelKind, ModelName, WorkerId};

use super::Findings;
use crate::policy::raw;
use crate::policy::rules::{
    HardwareId, ImageRow, MachineRow, Measured, ModelRow, Registers, Revocations,
};
use crate::verify::certificate::significant;

const LEVEL_MAX: u8 = 9;
/// So much hex is no name.
const DIGEST_LIKE_CHARS: usize = 32;

pub(super) fn images(findings: &mut Findings, raw: &[raw::Image]) -> Vec<ImageRow> {
    findings.rows("image", raw);
    let mut rows: Vec<ImageRow> = Vec::new();
    for (index, row) in raw.iter().enumerate() {
        let at = format!("image[{index}]");
        let name = findings.text(&format!("{at}.name"), &row.name);
        if rows.iter().any(|known| known.name == name) {
            findings.add(format!("{at}.name"), "is there twice");
        }
        let measured = match row.tee.as_str() {
            "tdx" => tdx_registers(findings, &at, row),
            "snp" => snp_measurement(findings, &at, row),
            _ => {
                findings.add(format!("{at}.tee"), "must be \"tdx\" or \"snp\"");
                None
            }
        };
        let source = row.source.as_ref().map(|text| findings.text(&format!("{at}.source"), text));
        let provenance_sha256 = row.provenance_sha256.as_ref().and_then(|text| {
            findings.value(&format!("{at}.provenance_sha256"), text.parse().map_err(|_| DIGEST))
        });
        let gpus = row.gpus;
        rows.extend(measured.map(|measured| ImageRow {
            name,
            measured,
            gpus,
            source,
            provenance_sha256,
        }));
    }
    rows
}

const DIGEST: &str = "must be 64 hex digits";

fn tdx_registers(findings: &mut Findings, at: &str, row: &raw::Image) -> Option<Measured> {
    if row.measurement.is_some() {
        findings.add(format!("{at}.measurement"), "belongs to tee = \"snp\"");
    }
    let mut needed = |name: &str, text: &Option<String>| {
        let field = format!("{at}.{name}");
        match text {
            Some(text) => findings.hex(&field, text),
            None => {
                findings.add(field, "must be there: all registers count together");
                None
            }
        }
    };
    let mr_td = needed("mrtd", &row.mrtd);
    let rtmr0 = needed("rtmr0", &row.rtmr0);
    let rtmr1 = needed("rtmr1", &row.rtmr1);
    let rtmr2 = needed("rtmr2", &row.rtmr2);
    let mut stated = |name: &str, text: &Option<String>| {
        text.as_ref().and_then(|text| findings.hex(&format!("{at}.{name}"), text))
    };
    let mr_config_id = stated("mr_config_id", &row.mr_config_id);
    let mr_owner = stated("mr_owner", &row.mr_owner);
    let mr_owner_config = stated("mr_owner_config", &row.mr_owner_config);
    Some(Measured::Tdx(Box::new(Registers {
        mr_td: mr_td?,
        rtmr0: rtmr0?,
        rtmr1: rtmr1?,
        rtmr2: rtmr2?,
        mr_config_id,
        mr_owner,
        mr_owner_config,
    })))
}

fn snp_measurement(findings: &mut Findings, at: &str, row: &raw::Image) -> Option<Measured> {
    let foreign = [
        ("mrtd", &row.mrtd),
        ("rtmr0", &row.rtmr0),
        ("rtmr1", &row.rtmr1),
        ("rtmr2", &row.rtmr2),
        ("mr_config_id", &row.mr_config_id),
        ("mr_owner", &row.mr_owner),
        ("mr_owner_config", &row.mr_owner_config),
    ];
    for (name, _) in foreign.into_iter().filter(|(_, text)| text.is_some()) {
        findings.add(format!("{at}.{name}"), "belongs to tee = \"tdx\"");
    }
    let field = format!("{at}.measurement");
    let Some(text) = &row.measurement else {
        findings.add(field, "must be there");
        return None;
    };
    findings.hex(&field, text).map(Measured::Snp)
}

pub(super) fn models(findings: &mut Findings, raw: &[raw::Model]) -> Vec<ModelRow> {
    findings.rows("model", raw);
    let mut rows: Vec<ModelRow> = Vec::new();
    for (index, row) in raw.iter().enumerate() {
        let at = format!("model[{index}]");
        let problem = "must be 1 to 200 letters, digits and -._:/@+";
        let name = findings.value(&format!("{at}.name"), row.name.parse().map_err(|_| problem));
        let manifest = findings.value(&format!("{at}.manifest"), digest(&row.manifest));
        let engine = row.engine.as_ref().map(|text| findings.text(&format!("{at}.engine"), text));
        let kind = row.kind.as_ref();
        let kind = kind.and_then(|text| findings.value(&format!("{at}.kind"), kind_of(text)));
        let Some((name, manifest)) = name.zip(manifest) else { continue };
        let row = ModelRow { name, manifest, engine, context_length: row.context_length, kind };
        if rows.contains(&row) {
            findings.add(at, "is there twice");
        }
        rows.push(row);
    }
    rows
}

fn kind_of(text: &str) -> Result<ModelKind, &'static str> {
    [ModelKind::Chat, ModelKind::Embedding]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or("must be \"chat\" or \"embedding\"")
}

fn digest(text: &str) -> Result<Digest, &'static str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.parse().map_err(|_| "must be 64 hex digits, with or without \"sha256:\" in front")
}

/// Whether nobody would give a model this name: a digest that is misspelt must not revoke nothing.
fn is_meant_as_digest(text: &str) -> bool {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_labelled = text.get(..7).is_some_and(|label| label.eq_ignore_ascii_case("sha256:"));
    is_labelled || (is_hex && text.len() >= DIGEST_LIKE_CHARS)
}

pub(super) fn machines(findings: &mut Findings, raw: &[raw::Machine]) -> Vec<MachineRow> {
    findings.rows("machine", raw);
    let mut rows: Vec<MachineRow> = Vec::new();
    for (index, row) in raw.iter().enumerate() {
        let at = format!("machine[{index}]");
        let id = match (&row.ppid, &row.chip_id) {
            (Some(ppid), None) => findings.hex(&format!("{at}.ppid"), ppid).map(HardwareId::Ppid),
            (None, Some(chip)) => {
                findings.hex(&format!("{at}.chip_id"), chip).map(HardwareId::Chip)
            }
            _ => {
                findings.add(&at, "must have either ppid or chip_id");
                None
            }
        };
        let level = row.level.unwrap_or(1);
        if level > LEVEL_MAX {
            findings.add(format!("{at}.level"), format!("must be 0 to {LEVEL_MAX}"));
        }
        let not_after = row.not_after.as_ref();
        let ends = not_after.and_then(|text| findings.time(&format!("{at}.not_after"), text));
        let operator =
            row.operator.as_ref().map(|text| findings.text(&format!("{at}.operator"), text));
        let proof_of_cloud = row
            .proof_of_cloud
            .as_ref()
            .map(|text| findings.text(&format!("{at}.proof_of_cloud"), text));
        let Some(id) = id else { continue };
        if rows.iter().any(|known| known.id == id) {
            findings.add(&at, "is there twice");
        }
        rows.push(MachineRow { id, level, not_after: ends, operator, proof_of_cloud });
    }
    rows
}

pub(super) fn revoked(findings: &mut Findings, raw: &raw::Revoked) -> Revocations {
    let mut revoked = Revocations::default();
    for (name, list) in [
        ("hwid", &raw.hwid),
        ("gpu_serial", &raw.gpu_serial),
        ("image", &raw.image),
        ("model", &raw.model),
        ("worker", &raw.worker),
    ] {
        findings.rows(&format!("revoked.{name}"), list);
    }
    for (index, text) in raw.hwid.iter().enumerate() {
        let field = format!("revoked.hwid[{index}]");
        let id = if text.len() == 32 {
            findings.hex(&field, text).map(HardwareId::Ppid)
        } else if text.len() == 128 {
            findings.hex(&field, text).map(HardwareId::Chip)
        } else {
            findings.add(field, "must be a PPID (32 hex digits) or a chip id (128)");
            None
        };
        revoked.hardware.extend(id);
    }
    for (index, text) in raw.gpu_serial.iter().enumerate() {
        let serial = hex::decode(text).ok().map(|serial| significant(&serial).to_vec());
        let serial = serial
            .filter(|serial| !serial.is_empty())
            .ok_or("must be the serial number of a certificate in hex");
        let serial = findings.value(&format!("revoked.gpu_serial[{index}]"), serial);
        revoked.gpu_serials.extend(serial.map(hex::encode));
    }
    for (index, text) in raw.image.iter().enumerate() {
        revoked.images.push(findings.text(&format!("revoked.image[{index}]"), text));
    }
    for (index, text) in raw.model.iter().enumerate() {
        let field = format!("revoked.model[{index}]");
        match digest(text) {
            Ok(manifest) => revoked.manifests.push(manifest),
            Err(problem) if is_meant_as_digest(text) => findings.add(field, problem),
            Err(_) => {
                let name: Result<ModelName, _> = text.parse();
                let name = name.map_err(|_| "must be a model's name or the digest of its manifest");
                revoked.model_names.extend(findings.value(&field, name));
            }
        }
    }
    for (index, text) in raw.worker.iter().enumerate() {
        let worker: Result<WorkerId, _> = text.parse();
        let worker = worker.map_err(|_| "must be a worker id: wrk_ and 64 hex digits");
        revoked.workers.extend(findings.value(&format!("revoked.worker[{index}]"), worker));
    }
    revoked
}
