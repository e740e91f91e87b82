//! `[backups.<name>]` of `fedi.toml`: repositories of snapshots; `[backup]` of a
//! deployment: which one it uses, and when.

use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Credential;
use crate::name::{DeploymentName, RepositoryName};
use crate::state::Consistency;

/// A restic repository. Guests write to it, with rights that only add where its server
/// can give such; the operator's machine reads, marks and thins it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BackupRepository {
    /// Where it is for guests, as restic takes it: `rest:https://host:8000/`,
    /// `s3:https://host/bucket`, `sftp:user@host:/path`, `/srv/backup`. No password
    /// stands in it.
    pub location: String,
    /// Where it is for the operator's machine, which may remove from it; without it,
    /// `location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_location: Option<String>,
    /// What guests log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<RepositoryCredentials>,
    /// What the operator's machine logs in with; without it, `credentials`. An SFTP
    /// server at an `operator-location` of its own is then reached as the operator's
    /// own `ssh` does, which must not ask for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_credentials: Option<RepositoryCredentials>,
    /// The certificate authority of its server, in PEM; without it, those of the
    /// operating system. A relative path starts at fedi's configuration folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Which snapshots `fedi backup prune` keeps of each deployment, beside the last
    /// one that an application was proved to come back from.
    #[serde(default)]
    pub keep: Retention,
    /// Whether each deployment has a repository of its own, below `location`, with a
    /// password of its own. Else all share one: each guest can read what the others wrote.
    #[serde(default)]
    pub per_deployment: bool,
}

impl BackupRepository {
    /// Where the snapshots of a deployment are, of a repository that is at `location` for
    /// whoever asks.
    pub fn place_of(&self, location: &str, deployment: &DeploymentName) -> String {
        if self.per_deployment { own_place(location, deployment) } else { location.to_owned() }
    }
}

/// Where a deployment's own repository is, below the location that all have.
pub fn own_place(location: &str, deployment: &DeploymentName) -> String {
    format!("{}/{deployment}/", location.trim_end_matches('/'))
}

/// What a repository's server wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum RepositoryCredentials {
    /// User and password of a REST server: `{ user = "...", password = { file = "..." } }`.
    Login {
        /// The user.
        user: String,
        /// The password.
        password: Credential,
    },
    /// Keys of an S3 server: `{ id = { file = "..." }, secret = { file = "..." }, region = "garage" }`.
    Keys {
        /// The key's id.
        id: Credential,
        /// Its secret half.
        secret: Credential,
        /// The server's region.
        #[serde(default = "us_east_1")]
        region: String,
    },
    /// A key of an SFTP server: `{ key = { file = "..." }, known-hosts = "host ssh-ed25519 AAAA..." }`.
    Ssh {
        /// The private key, in OpenSSH's form, without a passphrase.
        key: Credential,
        /// The server's public keys, as lines of `known_hosts`.
        known_hosts: String,
    },
}

fn us_east_1() -> String {
    "us-east-1".to_owned()
}

/// How many snapshots are kept; one that any rule keeps stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retention {
    /// The newest ones; at least one.
    #[serde(default = "last")]
    pub last: u32,
    /// The newest of each of so many days (UTC) that have one.
    #[serde(default = "daily")]
    pub daily: u32,
    /// The same by ISO week.
    #[serde(default = "weekly")]
    pub weekly: u32,
    /// The same by month.
    #[serde(default = "monthly")]
    pub monthly: u32,
}

fn last() -> u32 {
    3
}

fn daily() -> u32 {
    7
}

fn weekly() -> u32 {
    5
}

fn monthly() -> u32 {
    12
}

impl Default for Retention {
    fn default() -> Self {
        Self { last: last(), daily: daily(), weekly: weekly(), monthly: monthly() }
    }
}

/// How a deployment is backed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BackupWishes {
    /// The repository, of `[backups.<name>]` in `fedi.toml`; may be left out where there
    /// is but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryName>,
    /// When the guest makes a backup by itself, as systemd takes it (`OnCalendar=`):
    /// `daily`, `*-*-* 03:30`. Without it, only `fedi backup create` makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How many days after the last proof that a restore works the next rehearsal is due:
    /// `fedi backup drill --due` makes it, `fedi status` tells when it is late. Without
    /// it, only `fedi backup drill <name>` makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_days: Option<NonZeroU16>,
    /// What may move while a backup is made.
    #[serde(default)]
    pub consistency: Consistency,
}
