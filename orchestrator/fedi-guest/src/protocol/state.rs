//! Capturing and restoring an application's state, and the guest's own backups: what
//! the operations take and answer. Sizes are bytes, times are UTC.

use std::collections::BTreeMap;

use fedi_model::state::Consistency;
use fedi_model::{AppName, DeploymentName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::secret::SecretValue;

/// How to reach a repository of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryAccess {
    /// As restic takes it, without a login.
    pub location: String,
    /// The repository's password.
    pub password: SecretValue,
    /// The login of a `rest:` server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<RestLogin>,
    /// The keys of an `s3:` endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Access>,
    /// The key of an `sftp:` server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sftp: Option<SftpAccess>,
    /// Certificates (PEM) that the server's may be signed by, instead of the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// The login of a REST server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestLogin {
    /// Name of the user.
    pub user: String,
    /// Password of the user.
    pub password: SecretValue,
}

/// The keys of an S3 endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Access {
    /// The key's id.
    pub id: String,
    /// Its secret half.
    pub secret: SecretValue,
    /// The endpoint's region.
    pub region: String,
}

/// How to log in to an SFTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SftpAccess {
    /// Private key in OpenSSH's form.
    pub private_key: SecretValue,
    /// The server's keys, as lines of `known_hosts`.
    pub known_hosts: String,
}

/// See [`super::Op::StatePause`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePause {
    /// The application.
    pub app: AppName,
    /// Whether queued work is run out first.
    #[serde(default)]
    pub drain: bool,
}

/// Answer to `state_pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePaused {
    /// Queued work that is left, by `<item>/<prefix>`.
    #[serde(default)]
    pub queued: BTreeMap<String, u64>,
}

/// See [`super::Op::StateResume`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateResume {
    /// The application.
    pub app: AppName,
}

/// See [`super::Op::StateCapture`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCapture {
    /// The application.
    pub app: AppName,
    /// The deployment, by which the snapshot is found again.
    pub deployment: DeploymentName,
    /// Where to.
    pub repository: RepositoryAccess,
    /// What may move meanwhile.
    pub consistency: Consistency,
    /// The deployment's key for fingerprints: 32 bytes in base 64, as text.
    pub fingerprint_key: SecretValue,
    /// `secrets.age`, which only the operator can read.
    pub sealed_secrets: SecretValue,
    /// A snapshot with the tag `run:<run>` is returned instead of being made again.
    pub run: String,
}

/// Answer to `state_capture`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCaptured {
    /// The snapshot's id.
    pub snapshot: String,
    /// `snapshot.json`.
    pub manifest: Value,
    /// Size of the stage.
    pub bytes: u64,
    /// What the repository did not have yet.
    pub new_bytes: u64,
}

/// See [`super::Op::StateRestore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRestore {
    /// The application.
    pub app: AppName,
    /// Where from.
    pub repository: RepositoryAccess,
    /// The snapshot's id.
    pub snapshot: String,
}

/// See [`super::Op::StateVerify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVerify {
    /// The application.
    pub app: AppName,
    /// Where from.
    pub repository: RepositoryAccess,
    /// The snapshot's id.
    pub snapshot: String,
}

/// Answer to `state_restore` and `state_verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVerified {
    /// In the order of restoring.
    pub items: Vec<StateVerifiedItem>,
}

/// An item that is as it was captured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVerifiedItem {
    /// Its name in the manifest.
    pub item: String,
    /// What was looked at and found equal.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Worth knowing, no failure.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// See [`super::Op::StatePlaces`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePlaces {
    /// The application.
    pub app: AppName,
}

/// Answer to `state_places`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePlacesFound {
    /// One entry an item, in the order of restoring.
    pub places: Vec<StatePlace>,
}

/// The place of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePlace {
    /// The item's name in the manifest.
    pub item: String,
    /// What it is, in words.
    pub what: String,
    /// What is in it, in words; `None` if it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
    /// Size of what is in it, where that is known.
    #[serde(default)]
    pub bytes: u64,
}

/// See [`super::Op::StateClear`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateClear {
    /// The application.
    pub app: AppName,
    /// Where the snapshot that makes up for it lies.
    pub repository: RepositoryAccess,
    /// Id of that snapshot: quiesced, and of this application.
    pub fail_safe: String,
}

/// Answer to `state_clear`: the places are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCleared {}

/// See [`super::Op::BackupConfigure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupConfigure {
    /// The application.
    pub app: AppName,
    /// `None` takes it away.
    pub config: Option<BackupConfig>,
}

/// What the guest's own backups need; kept in a file that only root reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupConfig {
    /// The deployment.
    pub deployment: DeploymentName,
    /// Where to.
    pub repository: RepositoryAccess,
    /// What may move meanwhile; a quiesced backup pauses the application.
    pub consistency: Consistency,
    /// When, as `OnCalendar=` takes it (systemd.time(7)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// As in [`StateCapture::fingerprint_key`].
    pub fingerprint_key: SecretValue,
    /// As in [`StateCapture::sealed_secrets`].
    pub sealed_secrets: SecretValue,
}

/// See [`super::Op::BackupStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatusRequest {
    /// The application.
    pub app: AppName,
}

/// Answer to `backup_status` and `backup_configure`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Whether backups are configured.
    pub configured: bool,
    /// When the timer goes off next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// The last one that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<BackupAttempt>,
    /// The last one, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<BackupAttempt>,
}

/// A backup that the guest made or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupAttempt {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The snapshot, if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Size of the snapshot.
    #[serde(default)]
    pub bytes: u64,
    /// What the repository did not have yet.
    #[serde(default)]
    pub new_bytes: u64,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
