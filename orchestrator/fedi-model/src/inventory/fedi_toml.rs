//! `fedi.toml`: what holds for the whole inventory.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackupRepository;
use crate::name::RepositoryName;

/// `fedi.toml`, at the root of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FediFile {
    /// A short name for this inventory: names the state folder, and marks what fedi makes.
    pub name: String,
    /// Who runs it.
    #[serde(default)]
    pub operator: Operator,
    /// How fedi reaches guests.
    #[serde(default)]
    pub ssh: Ssh,
    /// Where secrets are kept.
    #[serde(default)]
    pub secrets: SecretSettings,
    /// Where the journal is kept.
    #[serde(default)]
    pub state: State,
    /// Repositories of snapshots by name.
    #[serde(default)]
    pub backups: BTreeMap<RepositoryName, BackupRepository>,
}

/// Who runs the inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Operator {
    /// Mail address for certificate authorities and for the pages of the applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// How fedi reaches guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ssh {
    /// The private key that fedi logs in with; a relative path starts at fedi's
    /// configuration folder. Its public half lies beside it with `.pub`.
    #[serde(default = "default_key")]
    pub key: String,
    /// More public keys that may log in to every guest, one line each.
    #[serde(default)]
    pub authorized_keys: Vec<String>,
}

fn default_key() -> String {
    "ssh_ed25519".to_owned()
}

impl Default for Ssh {
    fn default() -> Self {
        Self { key: default_key(), authorized_keys: Vec::new() }
    }
}

/// Which store keeps the secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretDriver {
    /// Files encrypted with age (<https://age-encryption.org/v1>).
    #[default]
    Age,
}

/// Where secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecretSettings {
    /// Which store.
    #[serde(default)]
    pub driver: SecretDriver,
    /// Folder of the encrypted files, relative to the inventory; without it they lie
    /// in the state folder. Encrypted files may be committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The age identity (private key file) that fedi decrypts with; a relative path
    /// starts at fedi's configuration folder.
    #[serde(default = "default_identity")]
    pub identity: String,
    /// Public keys (`age1...`) that secrets are encrypted to, beside the identity's
    /// own. Give at least one that is kept elsewhere.
    #[serde(default)]
    pub recipients: Vec<String>,
}

fn default_identity() -> String {
    "age.key".to_owned()
}

impl Default for SecretSettings {
    fn default() -> Self {
        Self { driver: SecretDriver::default(), folder: None, identity: default_identity(), recipients: Vec::new() }
    }
}

/// Where the journal is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct State {
    /// Folder of the journal; without it `$FEDI_STATE_DIR`, else
    /// `~/.local/state/fedi/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}
