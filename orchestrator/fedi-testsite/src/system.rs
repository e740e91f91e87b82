//! Systems: made here as they really are, copied to stand-in guests by writing their name.

use async_trait::async_trait;
use fedi_drivers::system::PrebuiltSystems;
use fedi_engine::drivers::{DriverError, Resolved, StepContext, SystemSource};
use fedi_model::inventory::Deployment;
use fedi_model::resource::System;

use crate::guest::StandInGuests;

/// Prebuilt systems for stand-in guests.
pub struct StandInSystems {
    inner: PrebuiltSystems,
    guests: StandInGuests,
}

impl StandInSystems {
    /// Systems out of `inner`, for these guests.
    pub fn new(inner: PrebuiltSystems, guests: StandInGuests) -> Self {
        Self { inner, guests }
    }
}

#[async_trait]
impl SystemSource for StandInSystems {
    async fn resolve(&self, deployment: &Deployment) -> Result<Resolved, DriverError> {
        let resolved = self.inner.resolve(deployment).await?;
        self.guests.declared(&resolved.toplevel, &resolved.manifest);
        Ok(resolved)
    }

    async fn transfer(&self, system: &System, host_key: &str, _: &dyn StepContext) -> Result<(), DriverError> {
        self.guests.copied(&system.guest, host_key, &system.toplevel)
    }

    fn profile(&self) -> &str {
        self.inner.profile()
    }
}
