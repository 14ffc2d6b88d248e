//! The sections of a policy that admit a software platform.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{SoftTee, nvidia, register, snp, tdx};

/// The sections in TOML. What stands before the first section of a policy is the caller's.
pub(super) fn of(tee: &SoftTee, image: &str, gpus: u32) -> String {
    let has_snp = tee.snp_signer().is_some();
    let mut out = software(tee);
    out.push_str(&tdx_section());
    if has_snp {
        out.push_str(&snp_section());
    }
    out.push_str(&tdx_image(image, gpus));
    if has_snp {
        out.push_str(&snp_image(image, gpus));
    }
    if gpus > 0 {
        out.push_str(&gpu_section());
    }
    out.push_str(&format!("\n[[machine]]\nppid = \"{}\"\nlevel = 1\n", hex::encode(tdx::PPID)));
    if has_snp {
        let chip = hex::encode(snp::CHIP_ID);
        out.push_str(&format!("\n[[machine]]\nchip_id = \"{chip}\"\nlevel = 1\n"));
    }
    out
}

fn software(tee: &SoftTee) -> String {
    let mut out = "\n[software]\ninsecure_allow = true\n".to_owned();
    let roots = [
        ("tdx_root", Some(tee.tdx_root())),
        ("snp_signer", tee.snp_signer()),
        ("nvidia_root", Some(tee.nvidia_root())),
    ];
    for (name, root) in roots {
        if let Some(der) = root {
            out.push_str(&format!("{name} = \"{}\"\n", STANDARD.encode(der)));
        }
    }
    out
}

fn tdx_section() -> String {
    format!(
        "\n[tdx]\ntcb_status = [\"UpToDate\"]\nmin_tcb_eval = {}\ntd_attributes = \"{}\"\n\
         xfam = [\"{}\"]\nmr_seam = [\"{}\"]\n",
        tdx::TCB_EVALUATION,
        hex::encode(tdx::TD_ATTRIBUTES),
        hex::encode(tdx::XFAM),
        hex::encode(tdx::mr_seam()),
    )
}

fn snp_section() -> String {
    let [bl, tee, .., snp, ucode] = snp::TCB;
    format!(
        "\n[snp]\nproducts = [\"Genoa\"]\nallow_smt = true\nrequire_alias_check = true\n\
         min_tcb.Genoa = {{ bl = {bl}, tee = {tee}, snp = {snp}, ucode = {ucode} }}\n"
    )
}

fn tdx_image(image: &str, gpus: u32) -> String {
    let name = quoted(image);
    let mut out = format!("\n[[image]]\nname = {name}\ntee = \"tdx\"\ngpus = {gpus}\n");
    for (key, measured) in
        [("mrtd", "MRTD"), ("rtmr0", "RTMR0"), ("rtmr1", "RTMR1"), ("rtmr2", "RTMR2")]
    {
        out.push_str(&format!("{key} = \"{}\"\n", hex::encode(register(image, measured))));
    }
    out
}

/// A row of its own name: names are there once.
fn snp_image(image: &str, gpus: u32) -> String {
    let name = quoted(&format!("{image}-snp"));
    let measurement = hex::encode(register(image, "MEASUREMENT"));
    format!(
        "\n[[image]]\nname = {name}\ntee = \"snp\"\ngpus = {gpus}\nmeasurement = \"{measurement}\"\n"
    )
}

fn gpu_section() -> String {
    let mut out = format!(
        "\n[[gpu]]\narch = \"HOPPER\"\ndrivers = [{}]\nvbios = [{}]\nmode = [\"SPT\"]\n\
         [gpu.golden]\n",
        quoted(nvidia::DRIVER),
        quoted(nvidia::VBIOS_TEXT),
    );
    // Policies count from 0, as NVIDIA does.
    for index in 0..nvidia::MEASUREMENTS {
        let golden = hex::encode(nvidia::measurement(index));
        out.push_str(&format!("{index} = [\"{golden}\"]\n"));
    }
    out
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
