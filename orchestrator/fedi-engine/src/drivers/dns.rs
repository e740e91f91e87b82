//! DNS zones that fedi shares with their owner.

use async_trait::async_trait;
use fedi_model::resource::Records;

use super::{DriverError, StepContext};

/// DNS, bound to the settings of one host of the inventory.
///
/// `owned` is what the journal says fedi wrote; only these (name, type) pairs and
/// those of the wanted records are ever touched. A wanted pair that exists and is not
/// owned is somebody else's: [`super::DriverErrorKind::Foreign`].
#[async_trait]
pub trait Dns: Send + Sync {
    /// What the authoritative servers say of the (name, type) pairs of `records`: the
    /// sets that exist, `None` when none does.
    async fn observe(&self, records: &Records) -> Result<Option<Records>, DriverError>;

    /// Writes `records` and deletes owned pairs that it does not have.
    async fn ensure(
        &self,
        records: &Records,
        owned: Option<&Records>,
        cx: &dyn StepContext,
    ) -> Result<Records, DriverError>;

    /// Deletes the owned pairs.
    async fn remove(&self, owned: &Records, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// Takes back what this step may have begun to create: nothing of `wanted` is in the
    /// journal as made. A driver that noted what it was about to create takes back that
    /// alone, and needs no zone where it had not come so far.
    async fn take_back(&self, wanted: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.remove(wanted, cx).await
    }

    /// Waits until every authoritative server of the zone gives exactly `records`.
    async fn await_visible(&self, records: &Records, cx: &dyn StepContext) -> Result<(), DriverError>;
}
