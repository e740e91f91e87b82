//! Runs and their journals.

use async_trait::async_trait;
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::plan::{Plan, Workflow};
use fedi_model::run::{LedgerChange, RunId, RunPhase, RunRecord};
use jiff::Timestamp;

use super::{Fence, StoreError};

/// A run in the list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its name.
    pub id: RunId,
    /// What for.
    pub workflow: Workflow,
    /// For which deployment.
    pub deployment: DeploymentName,
    /// On which host.
    pub host: HostName,
    /// Where it stands.
    pub phase: RunPhase,
    /// When it was planned.
    pub started: Timestamp,
    /// When its last event was appended.
    pub updated: Timestamp,
    /// How many events it has.
    pub events: u64,
}

/// An event to be appended, with all that changes in the same transaction.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The right to write.
    pub fence: Fence,
    /// To which run.
    pub run: RunId,
    /// The event; its number must be the next one.
    pub record: &'a RunRecord,
    /// Where the run stands after it.
    pub phase: RunPhase,
    /// What it does to the ledger.
    pub ledger: &'a LedgerChange,
}

/// Keeps runs.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Begins a run: its first event is `planned`. A deployment that has an unfinished
    /// run is refused with [`StoreError::Unfinished`].
    async fn create_run(&self, fence: Fence, plan: &Plan, at: Timestamp) -> Result<RunId, StoreError>;

    /// Appends an event. Refused with [`StoreError::Stale`] unless the fence is the one
    /// of the writer lease, and with [`StoreError::Sequence`] unless it is the next one.
    async fn append(&self, append: Append<'_>) -> Result<(), StoreError>;

    /// All runs, the newest first.
    async fn runs(&self) -> Result<Vec<RunRow>, StoreError>;

    /// The runs of a deployment, the newest first.
    async fn runs_of(&self, deployment: &DeploymentName) -> Result<Vec<RunRow>, StoreError> {
        let mut runs = self.runs().await?;
        runs.retain(|run| run.deployment == *deployment);
        Ok(runs)
    }

    /// The runs that are not over, the oldest first.
    async fn open_runs(&self) -> Result<Vec<RunRow>, StoreError>;

    /// The whole journal of a run. A damaged one is refused with
    /// [`StoreError::Damaged`], which names the event.
    async fn records(&self, run: RunId) -> Result<Vec<RunRecord>, StoreError>;
}
