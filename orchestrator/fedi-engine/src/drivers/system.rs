//! Where a guest's system comes from.

use async_trait::async_trait;
use fedi_model::inventory::Deployment;
use fedi_model::manifest::Manifest;
use fedi_model::resource::System;

use super::{DriverError, StepContext};

/// Makes systems and brings them to guests.
#[async_trait]
pub trait SystemSource: Send + Sync {
    /// What the deployment's system is and declares, without building it.
    async fn resolve(&self, deployment: &Deployment) -> Result<Resolved, DriverError>;

    /// Builds the system here, if it needs building, and copies it to the guest; when
    /// this returns the guest can switch to it.
    async fn transfer(&self, system: &System, host_key: &str, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// The profile that keeps generations on the guest.
    fn profile(&self) -> &str;
}

/// A system as it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Where to get it: a flake attribute, or the absolute path of a folder.
    pub source: String,
    /// Its store path on the guest.
    pub toplevel: String,
    /// What it declares.
    pub manifest: Manifest,
}
