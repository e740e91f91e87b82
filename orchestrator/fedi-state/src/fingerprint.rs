//! Fingerprints of secrets: what a snapshot knows of them. Keyed with a key of the
//! deployment, so that a weak value cannot be guessed from a manifest that others read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fedi_model::manifest::SecretClass;
use fedi_model::{AppName, SecretName};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{ErrorClass, StateError};
use crate::snapshot::Snapshot;

/// The deployment's key for fingerprints; a secret itself.
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// A key of 32 bytes, which should be random.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key as 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self, StateError> {
        let wrong = || StateError::refused(ErrorClass::Damaged, "The fingerprint key is not 32 bytes in base64");
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| wrong())?);
        bytes.as_slice().try_into().map(Self).map_err(|_| wrong())
    }

    /// The fingerprint of a secret's value. Name and application count, so that two
    /// secrets of one value do not show it.
    pub fn fingerprint(&self, app: &AppName, name: &SecretName, value: &[u8]) -> Fingerprint {
        let mac = self.mac(app, name, value).finalize().into_bytes();
        Fingerprint(format!("hmac-sha256:{mac:x}"))
    }

    fn mac(&self, app: &AppName, name: &SecretName, value: &[u8]) -> Hmac<Sha256> {
        // A key that is shorter than a block is filled up with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as Mac>::new((&*block).into());
        for part in [b"fedi secret 1".as_slice(), app.as_str().as_bytes(), name.as_str().as_bytes()] {
            mac.update(part);
            mac.update(b"\0");
        }
        mac.update(value);
        mac
    }
}

impl Drop for FingerprintKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// `hmac-sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.strip_prefix("hmac-sha256:").unwrap_or_default();
        if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(Self(text));
        }
        Err("it is no fingerprint of the form `hmac-sha256:<64 hexadecimal digits>`")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

/// What the secrets of the place to restore to mean for a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretsReport {
    /// Identity and session secrets that are those of the snapshot.
    pub same: Vec<SecretName>,
    /// Session secrets that are missing or others: people will have to log in again.
    pub session_lost: Vec<SecretName>,
    /// Rotatable and provider secrets: the target's own are used.
    pub own: Vec<SecretName>,
}

/// Refuses to restore a snapshot where an identity secret is missing or another:
/// to be asked before anything is touched. `value` looks a secret up.
pub fn check_secrets(
    snapshot: &Snapshot,
    key: &FingerprintKey,
    value: &dyn Fn(&SecretName) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<SecretsReport, StateError> {
    let mut report = SecretsReport::default();
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    for (name, observed) in &snapshot.secrets {
        if matches!(observed.class, SecretClass::Rotatable | SecretClass::Provider) {
            report.own.push(name.clone());
            continue;
        }
        let found = value(name).map(|value| key.fingerprint(&snapshot.app, name, &value));
        match (found, observed.class) {
            (Some(found), _) if found == observed.fingerprint => report.same.push(name.clone()),
            (_, SecretClass::Session) => report.session_lost.push(name.clone()),
            (None, _) => missing.push(name.as_str()),
            (Some(_), _) => other.push(name.as_str()),
        }
    }
    let refused = |what: String, hint: &str| Err(StateError::refused(ErrorClass::Missing, what).with_hint(hint));
    if !missing.is_empty() {
        let names = missing.join("`, `");
        return refused(
            format!("The identity secrets `{names}` are missing; the application would be another one without them"),
            "Import them into the secret store first; nothing was touched",
        );
    }
    if !other.is_empty() {
        let names = other.join("`, `");
        return refused(
            format!("The identity secrets `{names}` are not those of the snapshot"),
            "Take the values of the captured deployment; nothing was touched",
        );
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObservedSecret;

    fn snapshot(secrets: &[(&str, SecretClass, &[u8])], key: &FingerprintKey) -> Snapshot {
        let text = r#"{ "schema": 1, "fedi": "0", "deployment": "m", "app": "matrix", "appVersion": "1", "epoch": 1,
            "began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:00Z", "consistency": "live", "items": {}, "order": [] }"#;
        let mut snapshot = Snapshot::from_json(text.as_bytes()).unwrap();
        for (name, class, value) in secrets {
            let name = SecretName::new(*name).unwrap();
            let fingerprint = key.fingerprint(&snapshot.app, &name, value);
            snapshot.secrets.insert(name, ObservedSecret { class: *class, fingerprint, protects: Vec::new() });
        }
        snapshot
    }

    #[test]
    fn a_missing_identity_secret_is_refused_and_a_rotatable_one_is_not() {
        let key = FingerprintKey::new([7; 32]);
        let snapshot = snapshot(
            &[
                ("signing-key", SecretClass::Identity, b"a"),
                ("session", SecretClass::Session, b"b"),
                ("db", SecretClass::Rotatable, b"c"),
            ],
            &key,
        );
        let have = |values: &'static [(&str, &[u8])]| {
            move |name: &SecretName| {
                values.iter().find(|(n, _)| *n == name.as_str()).map(|(_, value)| Zeroizing::new(value.to_vec()))
            }
        };
        let error = check_secrets(&snapshot, &key, &have(&[])).unwrap_err();
        assert!(error.to_string().contains("`signing-key`") && error.hint().is_some(), "{error}");
        let error = check_secrets(&snapshot, &key, &have(&[("signing-key", b"other")])).unwrap_err();
        assert!(error.to_string().contains("not those of the snapshot"), "{error}");
        let report = check_secrets(&snapshot, &key, &have(&[("signing-key", b"a")])).unwrap();
        assert_eq!((report.same.len(), report.session_lost.len(), report.own.len()), (1, 1, 1));
    }

    #[test]
    fn fingerprints_depend_on_key_name_and_value() {
        let (app, other) = (AppName::new("matrix").unwrap(), AppName::new("mastodon").unwrap());
        let (one, two) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let (a, b) = (SecretName::new("a").unwrap(), SecretName::new("b").unwrap());
        let first = one.fingerprint(&app, &a, b"x");
        for another in
            [two.fingerprint(&app, &a, b"x"), one.fingerprint(&app, &b, b"x"), one.fingerprint(&other, &a, b"x")]
        {
            assert_ne!(first, another);
        }
        assert!(Fingerprint::try_from("hmac-sha256:ff".to_owned()).is_err());
        assert_eq!(format!("{one:?}"), "FingerprintKey(..)");
    }
}
