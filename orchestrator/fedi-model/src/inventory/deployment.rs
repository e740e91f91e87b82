//! `hosts/<host>/deployments/<name>.toml`: one application on one domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackupWishes;
use crate::name::{AppName, Domain};

/// `hosts/<host>/deployments/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeploymentFile {
    /// The application: `matrix`, `mastodon`, `peertube`, `pixelfed` or `garage`.
    pub app: AppName,
    /// The domain that people see; in a zone of the host. It can never change once
    /// people have used it.
    pub domain: Domain,
    /// What the guest gets. What is left out is sized for the application when the
    /// guest is made, and kept from then on.
    #[serde(default)]
    pub resources: Resources,
    /// DNS beyond what the application needs.
    #[serde(default)]
    pub dns: DnsWishes,
    /// How it is backed up.
    #[serde(default)]
    pub backup: BackupWishes,
    /// The first administrator's mail address; without it the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_email: Option<String>,
    /// Settings of the application: the options `fedi.apps.<app>.*` of its NixOS
    /// module, under the same names.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What a guest gets. What is left out is sized for the application when the guest is
/// made, and kept from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Resources {
    /// CPU cores. A change restarts the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Memory in MiB. A change restarts the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// The state disk in GiB. It can grow later, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_gib: Option<u32>,
}

/// DNS beyond what the application needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DnsWishes {
    /// Whether to say in DNS who may issue certificates (CAA, RFC 8659).
    #[serde(default)]
    pub caa: bool,
}
