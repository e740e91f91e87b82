//! Which Proxmox VE is being played.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version such as 9.2.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    major: u8,
    minor: u8,
    patch: u8,
}

impl Version {
    /// Version `major.minor.patch` of pve-manager.
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self { major, minor, patch }
    }

    /// Major number, for example 9.
    pub const fn major(self) -> u8 {
        self.major
    }

    /// At least `major.minor`.
    pub const fn at_least(self, major: u8, minor: u8) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }

    /// `major.minor`, what `GET /version` calls the release.
    pub fn release(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Whether creating checks the right to set tags before the VM has joined its pool (qemu-server 9.2.0), and
    /// `start` at create asks for `VM.PowerMgmt` first.
    pub(crate) const fn checks_tags_at_create(self) -> bool {
        self.at_least(9, 2)
    }

    /// Whether `memhost` and the pressure figures are part of a VM's status.
    pub(crate) const fn reports_pressure(self) -> bool {
        self.major >= 9
    }

    /// Commit that `GET /version` names.
    pub(crate) fn repoid(self) -> &'static str {
        match (self.major, self.minor) {
            (8, _) => "2606ac8aba3d6a1e",
            (9, 2) => "14a22df35955d97d",
            _ => "7fe1c1fd2a4bd0d9",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::parse::<u8>);
        let mut next = |default| parts.next().unwrap_or(Ok(default));
        match (next(255), next(0), next(0)) {
            (Ok(major), Ok(minor), Ok(patch)) if (8..=9).contains(&major) => Ok(Self { major, minor, patch }),
            _ => Err(format!("`{text}` is no version of Proxmox VE that is simulated (8.4 to 9.x)")),
        }
    }
}
