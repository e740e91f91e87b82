//! Why there is no plan.

use fedi_engine::drivers::DriverError;
use fedi_engine::store::StoreError;
use fedi_inventory::{PathError, Unknown};
use fedi_plan::PlanError;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// The inventory does not have it.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// A path in the inventory leads nowhere.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A precondition refuses.
    #[error(transparent)]
    Refused(#[from] PlanError),
    /// Looking at the world failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The journal failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
