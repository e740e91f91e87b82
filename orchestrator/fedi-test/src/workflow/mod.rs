//! Tests that every workflow passes, whatever its plan and its world.
//!
//! A test gives a closure that makes a fresh [`Testbed`]: a world in the state before
//! the workflow, a store, and a way to plan. The closure is called many times, and each
//! testbed must be like the one before.
//!
//! ```no_run
//! # use fedi_test::workflow;
//! # async fn example() {
//! workflow::runs_twice(async || workflow::MapTestbed::deploy()).await;
//! workflow::fails_at_every_call(async || workflow::MapTestbed::deploy()).await;
//! workflow::fails_at_every_undo(async || workflow::MapTestbed::deploy()).await;
//! workflow::crashes_at_every_append(async || workflow::MapTestbed::deploy()).await;
//! # }
//! ```

mod crash;
mod fail;
mod map;
mod twice;

pub use crash::{crashes_and_is_undone, crashes_at_every_append};
pub use fail::{fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call};
pub use map::MapTestbed;
pub use twice::runs_twice;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::store::Store;
use fedi_engine::{Engine, World};
use fedi_model::plan::Plan;
use fedi_model::run::RunId;

use crate::context::engine;
use crate::{Recorder, TestClock};

/// All that matters in a world, comparable: name and content of each thing. What is
/// kept on purpose when a run is undone (images) and what differs from run to run
/// (times, numbers that a system gives) is left out.
pub type Snapshot = BTreeMap<String, String>;

/// A world with a workflow to be tested in it.
#[async_trait]
pub trait Testbed: Send + Sync {
    /// The world.
    fn world(&self) -> Arc<dyn World>;

    /// The store, with nothing in it but what the workflow needs.
    fn store(&self) -> Arc<dyn Store>;

    /// The workflow's plan for the world as it is now.
    async fn plan(&self) -> Plan;

    /// The world as it is now.
    async fn snapshot(&self) -> Snapshot;
}

/// An engine on a testbed, through another store or world where a test has wrapped it.
pub(crate) fn engine_on(store: Arc<dyn Store>, world: Arc<dyn World>) -> Engine {
    engine(store, world, &TestClock::default(), &Recorder::default())
}

/// The one run that is not over.
pub(crate) async fn open_run(store: &dyn Store) -> Option<RunId> {
    let open = store.open_runs().await.unwrap();
    assert!(open.len() <= 1, "more than one open run: {open:?}");
    open.first().map(|run| run.id)
}

/// What the world is like when the workflow is done.
pub(crate) async fn goal<T: Testbed>(make: &impl AsyncFn() -> T) -> Snapshot {
    let testbed = make().await;
    let outcome = engine_on(testbed.store(), testbed.world()).start(&testbed.plan().await).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "without faults: {outcome:?}");
    testbed.snapshot().await
}
