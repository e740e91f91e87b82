//! What a guest is told and tells when an application's state is captured or restored.
//! Plain values: plans and tests need no agent for them. Sizes are bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use fedi_model::name::{AppName, DeploymentName};
use fedi_model::state::Consistency;
use jiff::Timestamp;

use super::SecretValue;

/// How the guest reaches a repository of snapshots.
#[derive(Debug, Clone)]
pub struct RepositoryAccess {
    /// As restic takes it, without a login: `rest:https://backup.example/main/`,
    /// `sftp:user@host:/path`, `s3:https://host/bucket`, `/srv/backup`.
    pub location: String,
    /// The repository's password.
    pub password: SecretValue,
    /// The login of a `rest:` server.
    pub rest: Option<RestLogin>,
    /// The keys of an `s3:` endpoint.
    pub s3: Option<S3Access>,
    /// The key of an `sftp:` server.
    pub sftp: Option<SftpAccess>,
    /// Certificates (PEM) that the server's may be signed by, instead of the machine's own.
    pub ca: Option<String>,
}

/// The login of a REST server.
#[derive(Debug, Clone)]
pub struct RestLogin {
    /// Name of the user.
    pub user: String,
    /// Password of the user.
    pub password: SecretValue,
}

/// The keys of an S3 endpoint.
#[derive(Debug, Clone)]
pub struct S3Access {
    /// The key's id.
    pub id: String,
    /// Its secret half.
    pub secret: SecretValue,
    /// The endpoint's region: `garage`.
    pub region: String,
}

/// How to log in to an SFTP server.
#[derive(Debug, Clone)]
pub struct SftpAccess {
    /// Private key in OpenSSH's form.
    pub private_key: SecretValue,
    /// The server's keys, as lines of `known_hosts`.
    pub known_hosts: String,
}

/// How an application was taken out of service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paused {
    /// Queued work that is left, by `<redis item>/<prefix>`; nothing of it is lost.
    pub queued: BTreeMap<String, u64>,
}

/// A capture.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The application.
    pub app: AppName,
    /// The deployment, by which the snapshot is found again.
    pub deployment: DeploymentName,
    /// Where to.
    pub repository: RepositoryAccess,
    /// What may move meanwhile.
    pub consistency: Consistency,
    /// The deployment's key for fingerprints of secrets: 32 bytes in base 64.
    pub fingerprint_key: SecretValue,
    /// `secrets.age`: the secrets that travel with the state, encrypted to the
    /// operator; the guest cannot read them.
    pub sealed_secrets: Vec<u8>,
    /// The step's key; a snapshot that has it is not made twice.
    pub run: String,
}

/// A capture's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Id of the snapshot in the repository.
    pub snapshot: String,
    /// `snapshot.json`.
    pub manifest: serde_json::Value,
    /// Its size.
    pub bytes: u64,
    /// What of it the repository did not have yet; 0 where an earlier try stored it.
    pub new_bytes: u64,
}

/// A restore or a comparison.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The application.
    pub app: AppName,
    /// Where from.
    pub repository: RepositoryAccess,
    /// Id of the snapshot.
    pub snapshot: String,
}

/// What was restored, or found equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// By item, in the order of restoring.
    pub items: Vec<VerifiedItem>,
}

/// An item that is as it was captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifiedItem {
    /// Its name in the manifest.
    pub item: String,
    /// What was looked at and found equal, in words.
    pub checks: Vec<String>,
    /// Worth knowing, no failure.
    pub notes: Vec<String>,
}

/// The place of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The item's name in the manifest.
    pub item: String,
    /// What it is, in words: `PostgreSQL database synapse`.
    pub what: String,
    /// What is in it, in words: `171 tables, 12 MiB`; `None` if it is empty.
    pub holds: Option<String>,
    /// Size of what is in it, where that is known.
    pub bytes: u64,
}

/// What the guest's own backups need.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// The deployment.
    pub deployment: DeploymentName,
    /// Where to.
    pub repository: RepositoryAccess,
    /// What may move meanwhile; a quiesced backup pauses the application.
    pub consistency: Consistency,
    /// When, as systemd's `OnCalendar=` takes it; `None` leaves the timer to the system.
    pub schedule: Option<String>,
    /// As in [`Capture::fingerprint_key`].
    pub fingerprint_key: SecretValue,
    /// As in [`Capture::sealed_secrets`].
    pub sealed_secrets: Vec<u8>,
}

/// What the guest's own backups have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupStatus {
    /// Whether they are configured.
    pub configured: bool,
    /// When the timer goes off next, if it runs.
    pub next: Option<Timestamp>,
    /// The last one that succeeded.
    pub last_success: Option<BackupAttempt>,
    /// The last one, if it failed.
    pub last_failure: Option<BackupAttempt>,
}

/// A backup that the guest made or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupAttempt {
    /// When it ended, by the guest's clock.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The snapshot, if it succeeded.
    pub snapshot: Option<String>,
    /// Size of the snapshot.
    pub bytes: u64,
    /// What of it the repository did not have yet.
    pub new_bytes: u64,
    /// Why it failed, in words.
    pub error: Option<String>,
}
