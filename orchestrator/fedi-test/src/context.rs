//! All that a test of the engine needs, in a folder of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedi_engine::store::{Holder, SqliteStore, Store};
use fedi_engine::{Engine, EngineOptions, Observer, World};
use fedi_model::event::{Event, EventLine};
use tempfile::TempDir;
use uuid::Uuid;

use crate::TestClock;

/// Remembers what it was told. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<EventLine>>>);

impl Recorder {
    /// What it was told so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().iter().map(|line| line.event.clone()).collect()
    }
}

impl Observer for Recorder {
    fn tell(&self, line: &EventLine) {
        self.0.lock().unwrap().push(line.clone());
    }
}

/// A temporary folder, in memory where there is such a place: a test that journals
/// thousands of events need not wait for a disk. (What a power cut would lose no test sees
/// anyway; a killed process loses nothing in memory either.)
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store in a temporary folder, a clock, and whoever watches.
pub struct TestContext {
    /// The folder; it goes with the context.
    pub folder: TempDir,
    /// The store, in `state.db`.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: TestClock,
    /// What was told.
    pub recorder: Recorder,
}

impl Default for TestContext {
    fn default() -> Self {
        let folder = folder();
        let store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
        Self { folder, store, clock: TestClock::default(), recorder: Recorder::default() }
    }
}

impl TestContext {
    /// A context of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine on this store, for that world.
    pub fn engine(&self, world: Arc<dyn World>) -> Engine {
        engine(self.store.clone(), world, &self.clock, &self.recorder)
    }
}

/// An engine that runs one step at a time, so that calls and events have one order.
/// Its holder counts as dead at once, as after a crash.
pub(crate) fn engine(store: Arc<dyn Store>, world: Arc<dyn World>, clock: &TestClock, recorder: &Recorder) -> Engine {
    Engine::new(store, world, Arc::new(clock.clone()), Arc::new(recorder.clone()))
        .with_options(EngineOptions { concurrency: 1, backoff: Duration::from_secs(1), ..EngineOptions::default() })
        .with_holder(dead_holder())
}

/// A holder on this machine whose process is gone.
pub fn dead_holder() -> Holder {
    Holder { pid: u32::MAX, process_start: 1, instance: Uuid::new_v4(), ..Holder::current() }
}
