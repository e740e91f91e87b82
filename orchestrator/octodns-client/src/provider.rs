//! Which octoDNS provider to drive, with its settings and its secrets.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::record::RecordSet;

/// A secret that is wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Bounds a provider sets on times to live, in seconds.
///
/// Many providers refuse or silently change values outside their own; clamped
/// beforehand, the plan says what will really be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtlBounds {
    pub min: u32,
    pub max: u32,
}

impl Default for TtlBounds {
    /// Zero to 2^31 - 1 (RFC 2181 section 8).
    fn default() -> Self {
        Self { min: 0, max: 0x7fff_ffff }
    }
}

impl TtlBounds {
    /// The set with its time to live inside the bounds, and a note if that
    /// changed it.
    pub(crate) fn clamp(self, mut set: RecordSet) -> (RecordSet, Option<String>) {
        let wanted = set.ttl;
        set.ttl = wanted.clamp(self.min, self.max.max(self.min));
        let note = (set.ttl != wanted).then(|| {
            format!("The time to live of `{}` is {} s, as the provider does not take {wanted} s", set.key(), set.ttl)
        });
        (set, note)
    }
}

/// One octoDNS provider: any class that octoDNS can import.
///
/// ```
/// use octodns_client::{Provider, Secret};
///
/// let provider = Provider::new("octodns_powerdns.PowerDnsProvider")
///     .setting("host", "192.0.2.53")
///     .setting("port", 8081)
///     .secret("api_key", Secret::new("from the secret store"));
/// assert!(!format!("{provider:?}").contains("store"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    pub(crate) class: String,
    pub(crate) settings: BTreeMap<String, Value>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) ttl: TtlBounds,
}

impl Provider {
    /// The provider of an import path such as `octodns_bind.Rfc2136Provider`.
    pub fn new(class: impl Into<String>) -> Self {
        Self { class: class.into(), settings: BTreeMap::new(), secrets: BTreeMap::new(), ttl: TtlBounds::default() }
    }

    /// Sets an argument of the provider's constructor.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Sets an argument that is secret: it reaches octoDNS over a pipe only.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: Secret) -> Self {
        self.secrets.insert(name.into(), value);
        self
    }

    /// Bounds on times to live that this provider keeps to.
    #[must_use]
    pub fn ttl_bounds(mut self, bounds: TtlBounds) -> Self {
        self.ttl = bounds;
        self
    }

    /// The import path of the class.
    pub fn class(&self) -> &str {
        &self.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RecordName;
    use crate::record::RecordType;

    #[test]
    fn a_clamped_ttl_is_said() {
        let name = RecordName::new("a.example.org").unwrap();
        let set = RecordSet::new(name, RecordType::A, 60, ["192.0.2.1"]).unwrap();
        let bounds = TtlBounds { min: 3600, max: 86400 };
        let (clamped, note) = bounds.clamp(set.clone());
        assert_eq!(clamped.ttl, 3600);
        assert_eq!(
            note.unwrap(),
            "The time to live of `a.example.org A` is 3600 s, as the provider does not take 60 s"
        );
        assert_eq!(TtlBounds::default().clamp(set.clone()), (set, None));
    }
}
