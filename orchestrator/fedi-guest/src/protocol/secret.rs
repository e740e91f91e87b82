//! A secret on its way to the guest. The value can be neither printed nor
//! compared by accident, and is wiped when it is dropped.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedi_model::SecretName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// The bytes of a secret; base 64 on the wire, so that no log of a line shows it
/// in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Longest value, in bytes.
    pub const MAX: usize = 1024 * 1024;

    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes. Only for writing them where they belong.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(&*self.0));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        text.zeroize();
        // The decoder's own error would name a byte of the value.
        let bytes = bytes.map_err(|_| D::Error::custom("a secret is not valid base 64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// A secret to be written on the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name; the file is `/var/lib/fedi/secrets/<app>/<name>`.
    pub name: SecretName,
    /// Its version in the store.
    pub version: u64,
    /// A keyed fingerprint, made by the orchestrator (the key stays there), for
    /// instance `hmac-sha256:<hex>`. Kept and reported as it is.
    pub fingerprint: String,
    /// The value.
    pub value: SecretValue,
    /// Owner of the file, by name.
    #[serde(default = "root")]
    pub owner: String,
    /// Group of the file, by name.
    #[serde(default = "root")]
    pub group: String,
    /// Mode of the file, octal digits: `0400`. Nothing for others.
    #[serde(default = "mode_0400")]
    pub mode: String,
}

fn root() -> String {
    "root".to_owned()
}

fn mode_0400() -> String {
    "0400".to_owned()
}
