//! Record sets in plain types: what a zone holds under one name and type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::RecordName;
use crate::value::{self, InvalidValue};

/// The type of a record set.
///
/// The named ones are those that can be wanted; `Other` is what a zone of
/// somebody else's may hold besides (a provider's own `PowerDnsProvider/LUA`
/// too), which is only ever looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum RecordType {
    A,
    Aaaa,
    Caa,
    Cname,
    Https,
    Mx,
    Ns,
    Ptr,
    Srv,
    Sshfp,
    Svcb,
    Tlsa,
    Txt,
    Other(String),
}

impl RecordType {
    /// The type as zone files write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Cname => "CNAME",
            Self::Https => "HTTPS",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Srv => "SRV",
            Self::Sshfp => "SSHFP",
            Self::Svcb => "SVCB",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for RecordType {
    fn from(name: String) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "A" => Self::A,
            "AAAA" => Self::Aaaa,
            "CAA" => Self::Caa,
            "CNAME" => Self::Cname,
            "HTTPS" => Self::Https,
            "MX" => Self::Mx,
            "NS" => Self::Ns,
            "PTR" => Self::Ptr,
            "SRV" => Self::Srv,
            "SSHFP" => Self::Sshfp,
            "SVCB" => Self::Svcb,
            "TLSA" => Self::Tlsa,
            "TXT" => Self::Txt,
            _ => Self::Other(name),
        }
    }
}

impl FromStr for RecordType {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(name.to_owned().into())
    }
}

impl From<RecordType> for String {
    fn from(kind: RecordType) -> String {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names one record set: the unit of ownership and of change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    pub name: RecordName,
    #[serde(rename = "type")]
    pub kind: RecordType,
}

impl RecordKey {
    pub fn new(name: RecordName, kind: RecordType) -> Self {
        Self { name, kind }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

/// All records of one name and type.
///
/// Values are in presentation form and canonical: addresses as `std::net`
/// prints them, names in lower case with their final dot, a TXT value as the
/// bare text (no quotes, no escapes, not cut into strings). They are sorted
/// and without doubles, so that equal sets compare equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordSet {
    pub name: RecordName,
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// Seconds.
    pub ttl: u32,
    pub values: Vec<String>,
}

impl RecordSet {
    /// A record set that may be wanted: its values are checked and brought
    /// into canonical form. A name in a value is always absolute, with or
    /// without its final dot.
    pub fn new<S: AsRef<str>>(
        name: RecordName,
        kind: RecordType,
        ttl: u32,
        values: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidValue> {
        let mut canonical = Vec::new();
        for text in values {
            canonical.push(value::canonical(&kind, text.as_ref())?);
        }
        canonical.sort();
        canonical.dedup();
        let single = kind == RecordType::Cname;
        if canonical.is_empty() || (single && canonical.len() > 1) {
            let wanted = if single { "exactly one value" } else { "a value" };
            return Err(InvalidValue::new(&kind, "", format!("it needs {wanted}")));
        }
        Ok(Self { name, kind, ttl, values: canonical })
    }

    /// A record set as read from somewhere: canonical where it can be, and as
    /// it is where not (a zone may hold what fedi would not write).
    pub(crate) fn observed(
        name: RecordName,
        kind: RecordType,
        ttl: u32,
        values: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut values: Vec<String> =
            values.into_iter().map(|text| value::canonical(&kind, &text).unwrap_or(text)).collect();
        values.sort();
        values.dedup();
        Self { name, kind, ttl, values }
    }

    pub fn key(&self) -> RecordKey {
        RecordKey::new(self.name.clone(), self.kind.clone())
    }

    /// Whether both hold the same values; the time to live does not count.
    pub fn same_values(&self, other: &RecordSet) -> bool {
        self.key() == other.key() && self.values == other.values
    }
}

/// One line in the manner of a zone file, for people.
impl fmt::Display for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.ttl, self.kind)?;
        for (position, value) in self.values.iter().enumerate() {
            let comma = if position == 0 { " " } else { ", " };
            match self.kind {
                RecordType::Txt => write!(f, "{comma}\"{value}\"")?,
                _ => write!(f, "{comma}{value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(kind: RecordType, values: &[&str]) -> Result<RecordSet, InvalidValue> {
        RecordSet::new(RecordName::new("a.example.org").unwrap(), kind, 300, values)
    }

    #[test]
    fn values_are_canonical_sorted_and_single() {
        let addresses = set(RecordType::Aaaa, &["2001:DB8::2", "2001:db8:0::1", "2001:db8::2"]);
        assert_eq!(addresses.unwrap().values, ["2001:db8::1", "2001:db8::2"]);
        assert!(set(RecordType::A, &[]).is_err());
        assert!(set(RecordType::Cname, &["a.org", "b.org"]).is_err());
    }

    #[test]
    fn types_keep_their_spelling_both_ways() {
        for name in ["A", "AAAA", "HTTPS", "TXT", "PowerDnsProvider/LUA"] {
            let kind: RecordType = name.parse().unwrap();
            assert_eq!(kind.as_str(), name);
        }
        assert_eq!("srv".parse(), Ok(RecordType::Srv));
    }

    #[test]
    fn a_set_prints_as_one_line() {
        let text = set(RecordType::Txt, &["v=spf1 -all"]).unwrap();
        assert_eq!(text.to_string(), "a.example.org 300 TXT \"v=spf1 -all\"");
    }
}
