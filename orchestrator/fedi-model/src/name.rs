//! Names of things, each its own type so that a host can never be passed for a
//! deployment. A name is checked once, where it enters.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no valid {kind}: {reason}")]
pub struct NameError {
    /// What was wanted, in words: `host name`, `domain`, ...
    pub kind: &'static str,
    /// The text that was refused.
    pub text: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

/// A DNS label in lower case (RFC 1123, section 2.1), at most `max` bytes.
fn check_label(text: &str, max: usize) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > max {
        return Err("it is too long");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("only lower-case letters, digits and `-` are allowed");
    }
    if !text.as_bytes()[0].is_ascii_lowercase() {
        return Err("it must begin with a letter");
    }
    if text.ends_with('-') {
        return Err("it must not end with `-`");
    }
    Ok(())
}

/// A domain name in lower case, without a final dot, of at least two labels
/// (RFC 1035, section 2.3.4: 63 bytes a label, 253 in all).
fn check_domain(text: &str) -> Result<(), &'static str> {
    if text.len() > 253 {
        return Err("it is longer than 253 bytes");
    }
    if text.ends_with('.') {
        return Err("write it without the final dot");
    }
    if !text.contains('.') {
        return Err("it needs at least two labels, as in `social.example.org`");
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err("it has an empty label");
        }
        if label.len() > 63 {
            return Err("a label is longer than 63 bytes");
        }
        if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err("only lower-case letters, digits and `-` are allowed (write other scripts in their xn-- form)");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label begins or ends with `-`");
        }
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Checks `text` and makes a name of it.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(NameError { kind: $kind, text, reason }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "minLength": 1 })
            }
        }
    };
}

name!(
    /// A place where VMs run; the name of a folder under `hosts/`.
    HostName, "host name", |text| check_label(text, 40)
);
name!(
    /// A repository of snapshots; the name of a table `[backups.<name>]`.
    RepositoryName, "repository name", |text| check_label(text, 40)
);
name!(
    /// One application on one domain; the name of a file under
    /// `hosts/<host>/deployments/`. Also the VM's host name, hence a DNS label.
    DeploymentName, "deployment name", |text| check_label(text, 40)
);
name!(
    /// An application that fedi has a module for: `matrix`, `mastodon`, ...
    AppName, "application name", |text| check_label(text, 40)
);
name!(
    /// A secret of an application: `signing-key`, `admin-password`, ...
    SecretName, "secret name", |text| check_label(text, 64)
);
name!(
    /// A fully qualified domain name in ASCII, without the final dot.
    Domain, "domain", check_domain
);

impl Domain {
    /// Whether `self` is `zone` or lies below it.
    pub fn is_within(&self, zone: &Domain) -> bool {
        self.label_below(zone).is_some()
    }

    /// The part of `self` that stands before `zone`: `Some("")` for the zone
    /// itself, `None` outside it.
    pub fn label_below(&self, zone: &Domain) -> Option<&str> {
        if self == zone {
            return Some("");
        }
        self.0.strip_suffix(zone.as_str())?.strip_suffix('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert!(HostName::new("proxmox1").is_ok());
        for bad in ["", "1abc", "Proxmox", "a_b", "a-", "-a", "a.b"] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
        assert!(HostName::new("a".repeat(41)).is_err());
    }

    #[test]
    fn domains() {
        assert!(Domain::new("matrix.example.test").is_ok());
        for bad in ["example", "a..b", "a.b.", "A.b", "-a.b", "ü.example"] {
            assert!(Domain::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_within_a_zone() {
        let zone = Domain::new("example.test").unwrap();
        let below = |text: &str| Domain::new(text).unwrap().label_below(&zone).map(str::to_owned);
        assert_eq!(below("example.test"), Some(String::new()));
        assert_eq!(below("a.b.example.test"), Some("a.b".to_owned()));
        assert_eq!(below("badexample.test"), None);
    }

    #[test]
    fn refused_while_reading() {
        let error = serde_json::from_str::<HostName>("\"No\"").unwrap_err().to_string();
        assert!(error.contains("`No` is no valid host name"), "{error}");
    }
}
