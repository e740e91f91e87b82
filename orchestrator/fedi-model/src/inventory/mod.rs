//! The operator's folder as types: `fedi.toml`, `hosts/<host>/host.toml` and
//! `hosts/<host>/deployments/<name>.toml`.
//!
//! Every key is documented here; the JSON Schemas for editors and the reference
//! are made from these types. Reading files, line numbers and suggestions live in
//! `fedi-inventory`.

mod backup;
mod deployment;
mod fedi_toml;
mod host;

pub use backup::{BackupRepository, BackupWishes, RepositoryCredentials, Retention, own_place};
pub use deployment::{DeploymentFile, DnsWishes, Resources};
pub use fedi_toml::{FediFile, Operator, SecretDriver, SecretSettings, Ssh, State};
pub use host::{
    AddressPool, Dns, DnsDriver, DnsProvider, GuestImage, HostFile, HostKeyPin, Hypervisor, HypervisorDriver, System,
    SystemDriver, Tls, Zone,
};

use std::collections::BTreeMap;

use crate::name::{AppName, DeploymentName, Domain, HostName};

/// Where a secret that fedi itself needs (a token, an API key) is found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Credential {
    /// In a file; a relative path starts at fedi's configuration folder
    /// (`$FEDI_CONFIG_DIR`, else `~/.config/fedi`). It must not be readable by others.
    File(String),
    /// In an environment variable of this name.
    Env(String),
}

/// The whole inventory, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// `fedi.toml`.
    pub fedi: FediFile,
    /// The hosts by name.
    pub hosts: BTreeMap<HostName, HostFile>,
    /// The deployments by name; a name is unique over all hosts.
    pub deployments: BTreeMap<DeploymentName, Deployment>,
}

/// A deployment and the host that it lies under.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Its name.
    pub name: DeploymentName,
    /// The host whose folder the file is in.
    pub host: HostName,
    /// The file's content.
    pub file: DeploymentFile,
    /// Whether a `<name>.nix` lies beside it.
    pub has_nix: bool,
}

impl Deployment {
    /// The application.
    pub fn app(&self) -> &AppName {
        &self.file.app
    }

    /// The domain that people see.
    pub fn domain(&self) -> &Domain {
        &self.file.domain
    }
}
