//! A world that fails on request.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fedi_engine::World;
use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::plan::Task;
use fedi_model::resource::Resource;

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// [`World::observe`]
    Observe,
    /// [`World::ensure`]
    Ensure,
    /// [`World::remove`]
    Remove,
    /// [`World::run`]
    Run,
}

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it has its effect.
    Before,
    /// After it: the reply is lost.
    After,
    /// Before it, by a panic.
    Panic,
}

/// A call that fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which call, counted from 0 over all verbs since the world was made.
    pub call: usize,
    /// For how many calls from there on.
    pub times: usize,
    /// When.
    pub moment: Moment,
    /// With which error.
    pub kind: DriverErrorKind,
}

/// The calls so far: verb and name of the thing.
pub type Calls = Vec<(Verb, String)>;

/// Any world, with faults.
pub struct FaultyWorld {
    inner: Arc<dyn World>,
    calls: Mutex<Calls>,
    faults: Mutex<Vec<Fault>>,
}

impl FaultyWorld {
    /// Without faults yet.
    pub fn new(inner: Arc<dyn World>) -> Self {
        Self { inner, calls: Mutex::default(), faults: Mutex::default() }
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        self.calls.lock().unwrap().clone()
    }

    async fn call<T>(
        &self,
        verb: Verb,
        name: String,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((verb, name.clone()));
            calls.len() - 1
        };
        let fault = {
            let faults = self.faults.lock().unwrap();
            faults.iter().find(|fault| (fault.call..fault.call.saturating_add(fault.times)).contains(&number)).copied()
        };
        let Some(fault) = fault else { return work.await };
        let error = DriverError::new(fault.kind, format!("Failed to {verb:?} `{name}`").to_lowercase())
            .cause(format!("Fault injected {:?} call {number}", fault.moment));
        match fault.moment {
            Moment::Before => Err(error),
            Moment::Panic => panic!("injected into call {number}"),
            Moment::After => {
                work.await?;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl World for FaultyWorld {
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        self.call(Verb::Observe, like.id().to_string(), self.inner.observe(like)).await
    }

    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError> {
        self.call(Verb::Ensure, desired.id().to_string(), self.inner.ensure(desired, cx)).await
    }

    async fn remove(&self, resource: &Resource, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.call(Verb::Remove, resource.id().to_string(), self.inner.remove(resource, cx)).await
    }

    async fn run(&self, task: &Task, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.call(Verb::Run, task.id().to_string(), self.inner.run(task, cx)).await
    }
}
