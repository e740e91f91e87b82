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
    /// It waits without end and gives up when the run is to stop, before its effect.
    Hang,
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

/// A call that fails, by what it is about.
#[derive(Debug)]
struct Named {
    verb: Verb,
    name: String,
    times: usize,
    moment: Moment,
    kind: DriverErrorKind,
}

/// The calls so far: verb and name of the thing.
pub type Calls = Vec<(Verb, String)>;

/// Any world, with faults.
pub struct FaultyWorld {
    inner: Arc<dyn World>,
    calls: Mutex<Calls>,
    faults: Mutex<Vec<Fault>>,
    named: Mutex<Vec<Named>>,
}

impl FaultyWorld {
    /// Without faults yet.
    pub fn new(inner: Arc<dyn World>) -> Self {
        Self { inner, calls: Mutex::default(), faults: Mutex::default(), named: Mutex::default() }
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Makes the next `times` calls of `verb` about the thing of that name fail.
    pub fn fail(&self, verb: Verb, name: &str, times: usize, moment: Moment, kind: DriverErrorKind) {
        self.named.lock().unwrap().push(Named { verb, name: name.to_owned(), times, moment, kind });
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
        self.named.lock().unwrap().clear();
    }

    /// How often `verb` was called about the thing of that name.
    pub fn count(&self, verb: Verb, name: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.0 == verb && call.1 == name).count()
    }

    /// Counts a call, and says how it fails if it does.
    fn next(&self, verb: Verb, name: &str) -> (usize, Option<(Moment, DriverErrorKind)>) {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((verb, name.to_owned()));
            calls.len() - 1
        };
        let hits = |fault: &&Fault| (fault.call..fault.call.saturating_add(fault.times)).contains(&number);
        let by_number = self.faults.lock().unwrap().iter().find(hits).map(|fault| (fault.moment, fault.kind));
        let mut named = self.named.lock().unwrap();
        let by_name = named.iter_mut().find(|it| it.verb == verb && it.name == name && it.times > 0).map(|it| {
            it.times = it.times.saturating_sub(1);
            (it.moment, it.kind)
        });
        (number, by_number.or(by_name))
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        self.calls.lock().unwrap().clone()
    }

    async fn call<T>(
        &self,
        verb: Verb,
        name: String,
        cx: Option<&dyn StepContext>,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let (number, fault) = self.next(verb, &name);
        let Some((moment, kind)) = fault else { return work.await };
        let verb = format!("{verb:?}").to_lowercase();
        let error = |kind| {
            DriverError::new(kind, format!("Failed to {verb} `{name}`"))
                .cause(format!("A fault was injected into call {number} ({moment:?})"))
        };
        match moment {
            Moment::Before => Err(error(kind)),
            Moment::Panic => panic!("injected into call {number}"),
            Moment::After => {
                work.await?;
                Err(error(kind))
            }
            Moment::Hang => match cx {
                Some(cx) => {
                    cx.interrupted().await;
                    Err(error(DriverErrorKind::Interrupted))
                }
                None => std::future::pending().await,
            },
        }
    }
}

#[async_trait]
impl World for FaultyWorld {
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        self.call(Verb::Observe, like.id().to_string(), None, self.inner.observe(like)).await
    }

    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError> {
        self.call(Verb::Ensure, desired.id().to_string(), Some(cx), self.inner.ensure(desired, cx)).await
    }

    async fn remove(&self, resource: &Resource, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.call(Verb::Remove, resource.id().to_string(), Some(cx), self.inner.remove(resource, cx)).await
    }

    async fn run(&self, task: &Task, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.call(Verb::Run, task.id().to_string(), Some(cx), self.inner.run(task, cx)).await
    }
}
