//! What fedi made and still owns.

use async_trait::async_trait;
use fedi_model::name::DeploymentName;
use fedi_model::resource::{Resource, ResourceId};
use fedi_model::run::RunId;
use jiff::Timestamp;

use super::StoreError;

/// A resource as fedi last made it.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    /// The resource.
    pub resource: Resource,
    /// The run that made it so.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}

/// Tells what fedi owns. It is written by [`super::RunStore::append`] only.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// The resource of that name, where fedi owns it.
    async fn ledger_entry(&self, id: &ResourceId) -> Result<Option<LedgerEntry>, StoreError>;

    /// All that fedi owns, or all of one deployment, sorted by name.
    async fn ledger(&self, deployment: Option<&DeploymentName>) -> Result<Vec<LedgerEntry>, StoreError>;
}
