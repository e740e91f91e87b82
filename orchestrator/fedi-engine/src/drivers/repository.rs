//! Repositories of snapshots as the operator's machine reaches them.

use async_trait::async_trait;
use fedi_model::name::{DeploymentName, RepositoryName};
use fedi_model::resource::SnapshotRef;
use jiff::Timestamp;
use uuid::Uuid;

use super::{DriverError, RepositoryAccess, SecretValue};

/// A snapshot in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Its id.
    pub id: String,
    /// The id that it had before it was marked.
    pub original: Option<String>,
    /// When it was stored.
    pub at: Timestamp,
    /// What it can be found by: `epoch:7`, `run:<key>`.
    pub tags: Vec<String>,
}

/// Begins the key of a fail-safe among the tags.
const FAIL_SAFE: &str = "fail-safe-";

/// What a snapshot has as the tag `run:...` that a step of this key captured.
pub fn run_tag(key: Uuid, fail_safe: bool) -> String {
    format!("{}{key}", if fail_safe { FAIL_SAFE } else { "" })
}

impl StoredSnapshot {
    /// Whether the application was proved to come back from it.
    pub fn is_proved(&self) -> bool {
        self.tags.iter().any(|tag| tag == "proved")
    }

    /// Whether it is of what a restore replaced.
    pub fn is_fail_safe(&self) -> bool {
        self.tag("run").is_some_and(|run| run.starts_with(FAIL_SAFE))
    }

    /// What the tag `name:...` says.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Whether the snapshot goes, or went, by that id, which may be shortened.
    pub fn is(&self, id: &str) -> bool {
        self.id.starts_with(id) || self.original.as_deref().is_some_and(|original| original.starts_with(id))
    }
}

/// A lock on a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryLock {
    /// Who holds it: machine and process.
    pub holder: String,
    /// When it was last renewed.
    pub at: Timestamp,
    /// Whether its owner is gone.
    pub stale: bool,
}

/// Reads, marks and thins out repositories.
#[async_trait]
pub trait Repositories: Send + Sync {
    /// What a guest needs to reach it; makes no request.
    async fn access(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<RepositoryAccess, DriverError>;

    /// The whole snapshots of a deployment, oldest first. Of a repository that is not
    /// there yet, none.
    async fn list(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<StoredSnapshot>, DriverError>;

    /// What was stored of a deployment without coming to its end, oldest first. Nothing
    /// is restored from it; [`Repositories::prune`] forgets it after a day.
    async fn incomplete(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<StoredSnapshot>, DriverError>;

    /// `snapshot.json`.
    async fn manifest(&self, snapshot: &SnapshotRef) -> Result<Vec<u8>, DriverError>;

    /// `secrets.age`, where the snapshot has it.
    async fn sealed_secrets(&self, snapshot: &SnapshotRef) -> Result<Option<Vec<u8>>, DriverError>;

    /// Marks a snapshot as proved; returns the id that it has from now on.
    async fn mark_proved(&self, snapshot: &SnapshotRef) -> Result<String, DriverError>;

    /// The ids that the repository's rules do not keep.
    async fn outdated(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<String>, DriverError>;

    /// Forgets what the repository's rules do not keep, and frees the room. Returns
    /// the ids that are gone.
    async fn prune(&self, repository: &RepositoryName, deployment: &DeploymentName)
    -> Result<Vec<String>, DriverError>;

    /// Checks the repository's structure and, in percent, how much of its content.
    async fn check(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
        content_percent: u8,
    ) -> Result<(), DriverError>;

    /// The locks on it.
    async fn locks(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<RepositoryLock>, DriverError>;

    /// Removes the locks whose owners are gone.
    async fn remove_stale_locks(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<(), DriverError>;
}

/// Encrypts to the operator's keys, and decrypts.
#[async_trait]
pub trait Seal: Send + Sync {
    /// Encrypts to every recipient.
    async fn seal(&self, plain: &SecretValue) -> Result<Vec<u8>, DriverError>;

    /// Decrypts what [`Seal::seal`] made.
    async fn open(&self, sealed: &[u8]) -> Result<SecretValue, DriverError>;

    /// How many keys it encrypts to.
    async fn recipients(&self) -> Result<usize, DriverError>;
}
