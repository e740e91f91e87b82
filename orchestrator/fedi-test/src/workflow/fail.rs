//! Fail at every call: the world is as before, or the run is paused past its pivot and
//! can be finished.

use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_engine::{Interrupt, Outcome, World};
use fedi_model::plan::Task;
use fedi_model::resource::Resource;
use fedi_model::run::Direction;

use super::{Snapshot, Testbed, engine_on, goal, open_run};
use crate::{Calls, Fault, FaultyWorld, Moment};

/// Fails the workflow at its first call, then at its second, and so on, in every
/// way that a call can fail.
pub async fn fails_at_every_call<T: Testbed>(make: impl AsyncFn() -> T) {
    let goal = goal(&make).await;
    let calls = calls_of(&make).await;
    for call in 0..calls.len() {
        for moment in [Moment::Before, Moment::After, Moment::Panic] {
            fail_for_good(&make, &goal, &calls, Fault { call, times: 1, moment, kind: DriverErrorKind::Failed }).await;
        }
        // A system that does not answer for long is a failure too.
        let fault = Fault { call, times: 3, moment: Moment::Before, kind: DriverErrorKind::Unavailable };
        fail_for_good(&make, &goal, &calls, fault).await;
        // One that does not answer once is not.
        for moment in [Moment::Before, Moment::After] {
            let fault = Fault { call, times: 1, moment, kind: DriverErrorKind::Unavailable };
            let testbed = make().await;
            let world = faulty(&testbed, fault);
            let outcome = engine_on(testbed.store(), world).start(&testbed.plan().await).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }), "{fault:?}: {outcome:?}");
            assert_eq!(testbed.snapshot().await, goal, "{fault:?}");
        }
    }
}

async fn fail_for_good<T: Testbed>(make: &impl AsyncFn() -> T, goal: &Snapshot, calls: &Calls, fault: Fault) {
    let testbed = make().await;
    let at = format!("{fault:?} at {:?}", calls[fault.call]);
    let before = testbed.snapshot().await;
    let ledger = names_in_ledger(&testbed).await;
    let world = faulty(&testbed, fault);
    let engine = engine_on(testbed.store(), world.clone());
    match engine.start(&testbed.plan().await).await.unwrap() {
        Outcome::Unwound { failure, .. } => {
            assert!(failure.is_some(), "{at}: it says why");
            assert_eq!(testbed.snapshot().await, before, "{at}: the world is as before");
            assert_eq!(open_run(testbed.store().as_ref()).await, None, "{at}");
            assert_eq!(names_in_ledger(&testbed).await, ledger, "{at}: fedi owns what it owned before");
        }
        Outcome::Paused { run, pivoted, failure, .. } => {
            assert!(pivoted, "{at}: paused before the pivot");
            assert!(failure.is_some(), "{at}: it says why");
            world.heal();
            let outcome = engine.resume(run).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }), "{at}: resumed: {outcome:?}");
            assert_eq!(testbed.snapshot().await, *goal, "{at}: resumed");
            assert!(testbed.plan().await.is_empty(), "{at}: resumed, and nothing is left to do");
        }
        outcome => panic!("{at}: {outcome:?}"),
    }
}

/// Fails the workflow at its first call, its second, and so on, and while that is taken
/// back, fails each call of the way back: the run pauses there, and resuming it takes the
/// rest back.
pub async fn fails_at_every_undo<T: Testbed>(make: impl AsyncFn() -> T) {
    let calls = calls_of(&make).await;
    for (call, called) in calls.iter().enumerate() {
        for back in call + 1.. {
            let testbed = make().await;
            let at = format!("calls {call} ({called:?}) and {back}");
            let before = testbed.snapshot().await;
            let fault = |call| Fault { call, times: 1, moment: Moment::After, kind: DriverErrorKind::Failed };
            let world = faulty(&testbed, fault(call));
            world.inject(fault(back));
            let engine = engine_on(testbed.store(), world.clone());
            let outcome = engine.start(&testbed.plan().await).await.unwrap();
            let Outcome::Paused { run, direction: Direction::Backward, failure, .. } = outcome else {
                // The second fault came too late, or there was no way back.
                break;
            };
            assert!(failure.is_some(), "{at}: it says why");
            world.heal();
            let outcome = engine.resume(run).await.unwrap();
            assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{at}: {outcome:?}");
            assert_eq!(testbed.snapshot().await, before, "{at}");
        }
    }
}

/// Interrupts the workflow during its first call, its second, and so on: it pauses
/// with nothing lost, and resuming it finishes it.
pub async fn is_interrupted_at_every_call<T: Testbed>(make: impl AsyncFn() -> T) {
    let goal = goal(&make).await;
    let calls = calls_of(&make).await;
    for call in 0..calls.len() {
        let testbed = make().await;
        let world = Arc::new(Interrupting {
            inner: FaultyWorld::new(testbed.world()),
            call,
            interrupt: std::sync::OnceLock::new(),
        });
        let engine = engine_on(testbed.store(), world.clone());
        assert!(world.interrupt.set(engine.interrupt()).is_ok());
        let outcome = engine.start(&testbed.plan().await).await.unwrap();
        let run = match outcome {
            Outcome::Paused { run, direction: Direction::Forward, failure: None, .. } => run,
            // It was the last thing to do.
            Outcome::Completed { .. } if call + 1 == calls.len() => continue,
            outcome => panic!("interrupted in call {call} ({:?}): {outcome:?}", calls[call]),
        };
        let outcome = engine_on(testbed.store(), testbed.world()).resume(run).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }), "call {call}: {outcome:?}");
        assert_eq!(testbed.snapshot().await, goal, "call {call}");
    }
}

/// Says the wish to stop in the middle of a call.
struct Interrupting {
    inner: FaultyWorld,
    call: usize,
    interrupt: std::sync::OnceLock<Interrupt>,
}

impl Interrupting {
    fn maybe(&self) {
        if self.inner.calls().len() == self.call {
            self.interrupt.get().expect("the engine's interrupt").request();
        }
    }
}

#[async_trait]
impl World for Interrupting {
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        self.maybe();
        self.inner.observe(like).await
    }

    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError> {
        self.maybe();
        self.inner.ensure(desired, cx).await
    }

    async fn remove(&self, resource: &Resource, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.maybe();
        self.inner.remove(resource, cx).await
    }

    async fn run(&self, task: &Task, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.maybe();
        self.inner.run(task, cx).await
    }
}

fn faulty<T: Testbed>(testbed: &T, fault: Fault) -> Arc<FaultyWorld> {
    let world = FaultyWorld::new(testbed.world());
    world.inject(fault);
    Arc::new(world)
}

/// The calls of the workflow when nothing fails.
async fn calls_of<T: Testbed>(make: &impl AsyncFn() -> T) -> Calls {
    let testbed = make().await;
    let world = Arc::new(FaultyWorld::new(testbed.world()));
    engine_on(testbed.store(), world.clone()).start(&testbed.plan().await).await.unwrap();
    world.calls()
}

/// What fedi owns, without images, which are kept.
pub(super) async fn names_in_ledger<T: Testbed>(testbed: &T) -> Vec<String> {
    let ledger = testbed.store().ledger(None).await.unwrap();
    let names = ledger.iter().map(|entry| entry.resource.id());
    names.filter(|id| id.kind() != "image").map(|id| id.to_string()).collect()
}
