//! The cluster's own CA and the certificate of its nodes, like `pve-root-ca.pem` and `pve-ssl.pem`.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Certificates and keys in PEM.
#[derive(Clone, Serialize, Deserialize)]
struct Files {
    ca: String,
    certificate: String,
    key: String,
}

/// What the server shows to prove itself.
#[derive(Clone)]
pub(crate) struct ServerIdentity {
    pub(crate) ca_pem: String,
    pub(crate) certificate_pem: String,
    /// SHA-256 of the leaf, `AB:CD:...`.
    pub(crate) fingerprint: String,
    pub(crate) ca_fingerprint: String,
    pub(crate) names: Vec<String>,
    pub(crate) server_config: Arc<ServerConfig>,
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn fingerprint(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

fn named(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, text) in parts {
        name.push(kind.clone(), *text);
    }
    name
}

fn generate(names: &[String], node: &str) -> Result<Files, rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name = named(&[
        (DnType::CommonName, "Proxmox Virtual Environment"),
        (DnType::OrganizationName, "PVE Cluster Manager CA"),
    ]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name = named(&[
        (DnType::OrganizationalUnitName, "PVE Cluster Node"),
        (DnType::OrganizationName, "Proxmox Virtual Environment"),
        (DnType::CommonName, node),
    ]);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &ca)?;
    Ok(Files { ca: ca.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

impl ServerIdentity {
    /// The identity kept in `directory`, made at the first start; a fresh one where there is no directory.
    pub(crate) fn load_or_make(directory: Option<&Path>, names: &[String], node: &str) -> io::Result<Self> {
        let path = directory.map(|directory| directory.join("identity.json"));
        let kept = path.as_ref().filter(|path| path.exists());
        let files: Files = match kept {
            Some(path) => serde_json::from_slice(&fs::read(path)?)?,
            None => generate(names, node).map_err(other)?,
        };
        if let (Some(path), None) = (&path, kept) {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            serde_json::to_writer(file, &files)?;
        }
        let certificate = CertificateDer::from_pem_slice(files.certificate.as_bytes()).map_err(other)?;
        let ca = CertificateDer::from_pem_slice(files.ca.as_bytes()).map_err(other)?;
        let key = PrivateKeyDer::from_pem_slice(files.key.as_bytes()).map_err(other)?;
        let fingerprint_of_leaf = fingerprint(&certificate);
        let ca_fingerprint = fingerprint(&ca);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(other)?;
        Ok(Self {
            ca_pem: files.ca,
            certificate_pem: files.certificate,
            fingerprint: fingerprint_of_leaf,
            ca_fingerprint,
            names: names.to_vec(),
            server_config: Arc::new(config),
        })
    }
}
