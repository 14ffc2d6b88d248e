//! The gateway's uplink key and its self-signed certificate, kept across restarts.
//!
//! Workers pin the key, so `uplink.key` decides and the certificate can be made again from it.

use std::io;
use std::path::{Path, PathBuf};

use cocoon_primitives::Digest;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use super::UplinkError;

pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) spki_sha256: Digest,
}

pub(super) async fn load_or_make(data_dir: &Path) -> Result<Identity, UplinkError> {
    let folder = data_dir.to_owned();
    let loaded = tokio::task::spawn_blocking(move || load_or_make_blocking(&folder)).await;
    loaded.expect("reading two files does not panic")
}

fn load_or_make_blocking(data_dir: &Path) -> Result<Identity, UplinkError> {
    std::fs::create_dir_all(data_dir).map_err(file_error(data_dir))?;
    let key_path = data_dir.join("uplink.key");
    let key = match read(&key_path)? {
        Some(pem) => KeyPair::from_pem(&pem).map_err(UplinkError::Identity)?,
        None => {
            let key = KeyPair::generate().map_err(UplinkError::Identity)?;
            write_secret(&key_path, &key.serialize_pem())?;
            key
        }
    };
    let certificate = certificate(&data_dir.join("uplink.crt"), &key)?;
    let spki_sha256 = Digest::from_bytes(Sha256::digest(key.subject_public_key_info()).into());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok(Identity { certificate, key, spki_sha256 })
}

/// The stored certificate where it is of this key, else a new one.
fn certificate(path: &Path, key: &KeyPair) -> Result<CertificateDer<'static>, UplinkError> {
    let stored = read(path)?.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
    if let Some(stored) = stored
        && super::tls::spki(&stored).is_ok_and(|spki| spki == key.subject_public_key_info())
    {
        return Ok(stored);
    }
    let params = CertificateParams::new(vec!["cocoon-gateway".to_owned()]);
    let made = params.and_then(|params| params.self_signed(key)).map_err(UplinkError::Identity)?;
    write_secret(path, &made.pem())?;
    Ok(made.der().clone())
}

fn read(path: &Path) -> Result<Option<String>, UplinkError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path)(error)),
    }
}

/// Writes beside the file and renames, so that a crash leaves the old one or the new one.
fn write_secret(path: &Path, text: &str) -> Result<(), UplinkError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let beside = path.with_extension("tmp");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(file_error(path))
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> UplinkError {
    let path: PathBuf = path.to_owned();
    move |source| UplinkError::File { path: path.clone(), source }
}
