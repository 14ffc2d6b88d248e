//! `endpoints.json`: where a gateway listens, for the programs beside it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::{RunningGateway, StartError};
use crate::config::Config;

/// URLs and addresses as other programs take them; keys in hex.
#[derive(Serialize)]
struct Endpoints {
    api: String,
    uplink: String,
    uplink_spki_sha256: String,
    admin: String,
    receipt_key: String,
}

/// Written aside and renamed: whoever sees the file sees all of it, and every socket is bound.
pub(super) fn write(config: &Config, running: &RunningGateway) -> Result<(), StartError> {
    let scheme = if config.api.tls.is_some() { "https" } else { "http" };
    let endpoints = Endpoints {
        api: format!("{scheme}://{}", running.api),
        uplink: running.uplink.to_string(),
        uplink_spki_sha256: hex::encode(running.uplink_spki_sha256),
        admin: format!("http://{}", running.admin),
        receipt_key: hex::encode(running.receipt_key),
    };
    let path = config.data_dir.join("endpoints.json");
    replace(&path, &endpoints).map_err(|source| StartError::Endpoints { path, source })
}

fn replace(path: &Path, endpoints: &Endpoints) -> io::Result<()> {
    let aside = path.with_extension("json.new");
    let mut file = File::create(&aside)?;
    serde_json::to_writer_pretty(&mut file, endpoints)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&aside, path)
}
