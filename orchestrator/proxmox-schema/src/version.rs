//! Releases of Proxmox VE, and ranges of them.

use std::fmt;
use std::str::FromStr;

/// A release of Proxmox VE, as in `9.1`. The patch level does not matter to the API tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PveVersion {
    pub major: u8,
    pub minor: u8,
}

impl PveVersion {
    /// The oldest release fedi works with: the first where an import needs no SSH.
    pub const FLOOR: Self = Self::new(8, 4);

    /// The releases that the tables describe, oldest first.
    pub const KNOWN: [Self; 4] = [Self::new(8, 4), Self::new(9, 0), Self::new(9, 1), Self::new(9, 2)];

    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// The newest known release that is not newer than this one; the oldest for anything below the floor.
    #[must_use]
    pub fn nearest_known(self) -> Self {
        let known = Self::KNOWN.into_iter().rev().find(|known| *known <= self);
        known.unwrap_or(Self::FLOOR)
    }
}

impl fmt::Display for PveVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no release, such as `pve9`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a Proxmox VE release")]
pub struct NotAVersion(pub String);

impl FromStr for PveVersion {
    type Err = NotAVersion;

    /// Reads `9.1`, and `9.1.4` or `9.1-2` as `9.1`.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.split(['.', '-', '~']).map(str::parse::<u8>);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => Err(NotAVersion(text.to_owned())),
        }
    }
}

/// The releases that a line of a table holds for: `9.1+`, `8.4` or `8.4-9.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionRange {
    first: PveVersion,
    last: Option<PveVersion>,
}

impl VersionRange {
    pub(crate) fn contains(self, version: PveVersion) -> bool {
        self.first <= version && self.last.is_none_or(|last| version <= last)
    }
}

impl FromStr for VersionRange {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Self { first: first.parse()?, last: None });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Self { first: first.parse()?, last: Some(last.parse()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        let parse = |text: &str| text.parse::<PveVersion>().unwrap();
        assert_eq!(parse("9.2.11"), PveVersion::new(9, 2));
        assert!(parse("8.4") < parse("9.0"));
        assert_eq!(parse("9.7").nearest_known(), PveVersion::new(9, 2));
        assert_eq!(parse("7.4").nearest_known(), PveVersion::FLOOR);
        assert!("pve".parse::<PveVersion>().is_err());
    }

    #[test]
    fn ranges_hold_their_ends() {
        let holds = |range: &str| {
            let range: VersionRange = range.parse().unwrap();
            PveVersion::KNOWN.map(|version| range.contains(version))
        };
        assert_eq!(holds("9.0+"), [false, true, true, true]);
        assert_eq!(holds("8.4"), [true, false, false, false]);
        assert_eq!(holds("8.4-9.0"), [true, true, false, false]);
    }
}
