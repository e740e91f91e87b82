//! What the journal says fedi has made.

use async_trait::async_trait;
use fedi_model::resource::{Resource, ResourceId};

use super::DriverError;

/// Looks things up in the journal. Drivers never write to it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The resource as it was last made, `None` when fedi did not make it or removed it.
    async fn made(&self, id: &ResourceId) -> Result<Option<Resource>, DriverError>;
}
