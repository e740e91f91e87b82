//! The sample deployment in the world of maps.

use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::World;
use fedi_engine::store::Store;
use fedi_model::plan::{Plan, Workflow};

use super::{Snapshot, Testbed};
use crate::sample::Sample;
use crate::{MapWorld, TestContext};

/// A workflow of the sample deployment in the world of maps.
pub struct MapTestbed {
    /// Store and clock.
    pub context: TestContext,
    /// The world.
    pub world: Arc<MapWorld>,
    /// The deployment as wanted.
    pub sample: Sample,
    /// Which workflow.
    pub workflow: Workflow,
}

impl MapTestbed {
    /// Bringing it up in an empty world.
    pub fn deploy() -> Self {
        Self::with(MapWorld::default(), Workflow::Deploy)
    }

    /// Changing one that is up.
    pub fn change() -> Self {
        let mut testbed = Self::with(Self::up(), Workflow::Deploy);
        testbed.sample.memory_mib = 4096;
        testbed
    }

    /// Removing one that is up.
    pub fn destroy() -> Self {
        Self::with(Self::up(), Workflow::Destroy)
    }

    fn with(world: MapWorld, workflow: Workflow) -> Self {
        Self { context: TestContext::new(), world: Arc::new(world), sample: Sample::new("matrix"), workflow }
    }

    fn up() -> MapWorld {
        let sample = Sample::new("matrix");
        MapWorld::holding([
            sample.address(),
            sample.secret("signing-key"),
            sample.secret("admin-password"),
            sample.image(),
            sample.vm(),
            sample.host_key(),
            sample.delivery(),
            sample.lease(),
            sample.system(),
            sample.records(),
        ])
    }
}

#[async_trait]
impl Testbed for MapTestbed {
    fn world(&self) -> Arc<dyn World> {
        self.world.clone()
    }

    fn store(&self) -> Arc<dyn Store> {
        self.context.store.clone()
    }

    async fn plan(&self) -> Plan {
        match self.workflow {
            Workflow::Destroy => self.sample.destroy(self.world.as_ref()).await,
            _ => self.sample.deploy(self.world.as_ref()).await,
        }
    }

    async fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.world.snapshot();
        // Images are kept, and what was waited for is no thing.
        snapshot.retain(|name, content| !name.starts_with("image/") && content != "done");
        snapshot
    }
}
