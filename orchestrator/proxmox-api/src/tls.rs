//! How the server is recognised. There is no way to accept just any certificate.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use crate::fingerprint::Fingerprint;

/// What makes a server the right one.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Its certificate has one of these fingerprints; more than one while a renewal is near. Names and dates in
    /// the certificate do not matter then.
    Fingerprints(Vec<Fingerprint>),
    /// Its certificate is signed by one of these authorities (PEM) and names the server, as that of
    /// `/etc/pve/pve-root-ca.pem` does.
    Authority(Vec<u8>),
    /// Its certificate is signed by an authority of the operating system.
    System,
}

/// A [`Trust`] that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("The file with the certificate authority is not PEM")]
    NotPem(#[source] rustls::pki_types::pem::Error),
    #[error("There is no certificate in it")]
    Empty,
    #[error("A certificate of the authority cannot be used")]
    Unusable(#[source] rustls::Error),
    #[error("The operating system's certificate authorities cannot be read: {0}")]
    System(String),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The server showed another certificate than the pinned ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's certificate has the fingerprint `{presented}`")]
pub struct WrongFingerprint {
    pub presented: Fingerprint,
}

impl Trust {
    /// A rustls client that trusts nothing else, and speaks HTTP/1.1 only.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Tls)?;
        let builder = match self {
            Self::Fingerprints(pins) => {
                let verifier = PinVerifier::new(pins.clone(), &provider);
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Self::Authority(pem) => builder.with_root_certificates(roots_of(pem)?),
            Self::System => builder.with_root_certificates(system_roots()?),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(TrustError::NotPem)?).map_err(TrustError::Unusable)?;
    }
    if roots.is_empty() { Err(TrustError::Empty) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A certificate of the operating system that cannot be used must not keep the others from being used.
    let (used, _) = roots.add_parsable_certificates(found.certs);
    if used == 0 {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = if errors.is_empty() { "there are none".to_owned() } else { errors.join(", ") };
        return Err(TrustError::System(reason));
    }
    Ok(roots)
}

/// Compares the leaf's fingerprint, and still verifies that the server holds the certificate's key.
struct PinVerifier {
    pins: Vec<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinVerifier {
    fn new(pins: Vec<Fingerprint>, provider: &CryptoProvider) -> Self {
        Self { pins, algorithms: provider.signature_verification_algorithms }
    }
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinVerifier").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = Fingerprint::of(end_entity);
        if self.pins.contains(&presented) {
            return Ok(ServerCertVerified::assertion());
        }
        let reason = OtherError(Arc::new(WrongFingerprint { presented }));
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(reason)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What a failed connection says about the server's certificate, if that is why it failed.
pub(crate) fn certificate_problem(error: &(dyn StdError + 'static)) -> Option<(String, Option<Fingerprint>)> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
            return Some(match problem {
                CertificateError::Other(OtherError(inner)) => {
                    let wrong = inner.downcast_ref::<WrongFingerprint>();
                    (inner.to_string(), wrong.map(|wrong| wrong.presented))
                }
                other => (other.to_string(), None),
            });
        }
        next = cause(error);
    }
    None
}

/// The next error behind this one. What an [`std::io::Error`] wraps is not its source.
pub(crate) fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_must_be_one() {
        assert!(matches!(Trust::Authority(b"nothing".to_vec()).client_config(), Err(TrustError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(Trust::Authority(broken).client_config().is_err());
    }

    #[test]
    fn only_http_1_is_offered() {
        let config = Trust::Fingerprints(Vec::new()).client_config().unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
    }
}
