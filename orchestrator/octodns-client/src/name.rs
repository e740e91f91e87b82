//! Names as DNS compares them: lower case, in their ASCII form, absolute.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no name for a zone or a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no DNS name: {why}")]
pub struct InvalidName {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The name of a zone, such as `example.org`.
///
/// Unicode names are taken and kept as their IDNA A-labels, so that two
/// spellings of one zone are equal. `Display` prints no final dot, [`ZoneName::fqdn`] does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

/// The absolute name of a record, such as `matrix.example.org`,
/// `_matrix-fed._tcp.example.org` or `*.example.org`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordName(String);

impl ZoneName {
    /// Reads a zone's name, with or without the final dot.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let canonical = canonical(name)?;
        if canonical.starts_with('*') {
            Err(InvalidName { name: name.to_owned(), why: "a zone cannot be a wildcard" })
        } else {
            Ok(Self(canonical))
        }
    }

    /// The name with its final dot, as octoDNS and zone files write it.
    pub fn fqdn(&self) -> String {
        format!("{}.", self.0)
    }

    /// The name without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `record` is this zone's apex or below it.
    pub fn contains(&self, record: &RecordName) -> bool {
        self.relative(record).is_some()
    }

    /// The record's name inside this zone (`""` for the apex), as octoDNS
    /// names records; `None` when it is outside.
    pub fn relative<'a>(&self, record: &'a RecordName) -> Option<&'a str> {
        let rest = record.0.strip_suffix(self.0.as_str())?;
        match rest {
            "" => Some(""),
            _ => rest.strip_suffix('.'),
        }
    }

    /// The absolute name of `relative` (`""` for the apex).
    pub fn name(&self, relative: &str) -> Result<RecordName, InvalidName> {
        match relative {
            "" => Ok(RecordName(self.0.clone())),
            _ => RecordName::new(&format!("{relative}.{}", self.0)),
        }
    }

    /// The most specific of `zones` that holds `record`.
    pub fn of<'a>(record: &RecordName, zones: impl IntoIterator<Item = &'a ZoneName>) -> Option<&'a ZoneName> {
        zones.into_iter().filter(|zone| zone.contains(record)).max_by_key(|zone| zone.0.len())
    }
}

impl RecordName {
    /// Reads an absolute name, with or without the final dot.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        canonical(name).map(Self)
    }

    /// The name with its final dot.
    pub fn fqdn(&self) -> String {
        format!("{}.", self.0)
    }

    /// The name without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One name in the form everything here compares: lower case A-labels, no
/// final dot, underscores allowed, `*` only as the whole first label.
fn canonical(name: &str) -> Result<String, InvalidName> {
    let fail = |why| InvalidName { name: name.to_owned(), why };
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        return Err(fail("it is empty"));
    }
    let mut labels = Vec::new();
    for (position, label) in bare.split('.').enumerate() {
        let label = match label {
            "" => return Err(fail("it has an empty label")),
            "*" if position == 0 => "*".to_owned(),
            _ if label.is_ascii() => label.to_ascii_lowercase(),
            _ => idna::domain_to_ascii_strict(label).map_err(|_| fail("a label is not valid under IDNA"))?,
        };
        if label.len() > 63 {
            return Err(fail("a label is longer than 63 characters"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let wildcard = label == "*" && position == 0;
        if !wildcard && !label.chars().all(plain) {
            return Err(fail("only letters, digits, hyphens and underscores are allowed"));
        }
        labels.push(label);
    }
    let joined = labels.join(".");
    if joined.len() > 252 { Err(fail("it is longer than 253 characters")) } else { Ok(joined) }
}

macro_rules! text_form {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

text_form!(ZoneName);
text_form!(RecordName);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> ZoneName {
        ZoneName::new(name).unwrap()
    }

    fn record(name: &str) -> RecordName {
        RecordName::new(name).unwrap()
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        assert_eq!(zone("Example.ORG."), zone("example.org"));
        assert_eq!(zone("bücher.example"), zone("xn--bcher-kva.example."));
        assert_eq!(zone("example.org").fqdn(), "example.org.");
    }

    #[test]
    fn relative_is_what_octodns_calls_the_name() {
        let zone = zone("example.org");
        assert_eq!(zone.relative(&record("example.org")), Some(""));
        assert_eq!(zone.relative(&record("_matrix._tcp.example.org.")), Some("_matrix._tcp"));
        assert_eq!(zone.relative(&record("notexample.org")), None);
        assert_eq!(zone.relative(&record("org")), None);
        assert_eq!(zone.name("").unwrap(), record("example.org"));
        assert_eq!(zone.name("*").unwrap(), record("*.example.org"));
    }

    #[test]
    fn the_most_specific_zone_is_chosen() {
        let zones = [zone("org"), zone("social.example.org"), zone("example.org")];
        let of = |name| ZoneName::of(&record(name), &zones).map(ZoneName::as_str);
        assert_eq!(of("a.social.example.org"), Some("social.example.org"));
        assert_eq!(of("antisocial.example.org"), Some("example.org"));
        assert_eq!(of("example.net"), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        for name in ["", ".", "a..b", "a b.org", "a.*.org", "@.org", &long, "x;y.org"] {
            assert!(RecordName::new(name).is_err(), "{name}");
        }
        assert!(ZoneName::new("*.example.org").is_err());
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_is_stable(text in "\\PC{0,80}") {
            if let Ok(name) = RecordName::new(&text) {
                prop_assert_eq!(RecordName::new(&name.fqdn()).unwrap(), name.clone());
                prop_assert!(name.as_str().len() <= 252);
            }
        }

        #[test]
        fn relative_and_name_are_inverse(labels in proptest::collection::vec("[a-z0-9_]{1,9}", 0..4)) {
            let zone = zone("example.org");
            let relative = labels.join(".");
            let name = zone.name(&relative).unwrap();
            prop_assert_eq!(zone.relative(&name), Some(relative.as_str()));
        }
    }
}
