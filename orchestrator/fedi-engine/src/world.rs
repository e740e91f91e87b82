//! The world as the executor sees it: resources that can be observed, ensured and
//! removed, and tasks. `fedi-drivers` builds one out of drivers; tests build one out
//! of maps.

use async_trait::async_trait;
use fedi_model::plan::Task;
use fedi_model::resource::Resource;

use crate::drivers::{DriverError, StepContext};

/// Everything that a plan can act upon. All verbs are idempotent.
#[async_trait]
pub trait World: Send + Sync {
    /// The resource as it is; `None` when it is not there. `like` says which one, and
    /// gives what cannot be read back.
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError>;

    /// Makes the resource be as wanted, and returns it as it is.
    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError>;

    /// Makes the resource not be.
    async fn remove(&self, resource: &Resource, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// Carries out a task; done when its post-condition holds.
    async fn run(&self, task: &Task, cx: &dyn StepContext) -> Result<(), DriverError>;
}
