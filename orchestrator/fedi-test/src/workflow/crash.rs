//! Crash at every journal append, before it is written and after: what is resumed ends
//! as if nothing had been, and what is undone leaves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedi_engine::{EngineError, Outcome};

use super::fail::names_in_ledger;
use super::{Snapshot, Testbed, engine_on, goal, open_run};
use crate::{Calls, CrashAt, CrashingStore, FaultyWorld, Verb};

/// Kills the workflow's process (as far as its journal can tell) at every append and
/// resumes it: it finishes, the world is as without the crash, and no step had its
/// effect more than twice.
pub async fn crashes_at_every_append<T: Testbed>(make: impl AsyncFn() -> T) {
    let goal = goal(&make).await;
    for at in moments(&make).await {
        let testbed = make().await;
        let calls = crash(&testbed, at).await;
        let world = Arc::new(FaultyWorld::new(testbed.world()));
        let engine = engine_on(testbed.store(), world.clone());
        let outcome = match open_run(testbed.store().as_ref()).await {
            Some(run) => engine.resume(run).await.unwrap(),
            // It crashed before it began or after it was over.
            None => engine.start(&testbed.plan().await).await.unwrap(),
        };
        assert!(matches!(outcome, Outcome::Completed { .. } | Outcome::NothingToDo), "{at:?}: {outcome:?}");
        assert_eq!(testbed.snapshot().await, goal, "{at:?}");
        let left = testbed.plan().await;
        assert!(left.is_empty(), "{at:?}: nothing is left to do: {left:#?}");
        assert_at_most_twice(at, calls, world.calls());
    }
}

/// Kills the workflow's process at every append and undoes it: the world is as before,
/// unless the run is past its pivot and says so.
pub async fn crashes_and_is_undone<T: Testbed>(make: impl AsyncFn() -> T) {
    for at in moments(&make).await {
        let testbed = make().await;
        let before: Snapshot = testbed.snapshot().await;
        let owned = names_in_ledger(&testbed).await;
        crash(&testbed, at).await;
        let Some(run) = open_run(testbed.store().as_ref()).await else { continue };
        let engine = engine_on(testbed.store(), testbed.world());
        match engine.undo(run).await {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Unwound { run, failure: None }, "{at:?}");
                assert_eq!(testbed.snapshot().await, before, "{at:?}");
                assert_eq!(names_in_ledger(&testbed).await, owned, "{at:?}: fedi owns what it owned before");
            }
            Err(EngineError::PastPivot { .. }) => {}
            Err(error) => panic!("{at:?}: {error}"),
        }
    }
}

/// All moments of a crash that the workflow has.
async fn moments<T: Testbed>(make: &impl AsyncFn() -> T) -> Vec<CrashAt> {
    let testbed = make().await;
    let store = Arc::new(CrashingStore::new(testbed.store(), CrashAt::Never));
    engine_on(store.clone(), testbed.world()).start(&testbed.plan().await).await.unwrap();
    (1..=store.appends()).flat_map(|number| [CrashAt::Before(number), CrashAt::After(number)]).collect()
}

/// Starts the workflow and lets it crash; the calls until then.
async fn crash<T: Testbed>(testbed: &T, at: CrashAt) -> Calls {
    let store = Arc::new(CrashingStore::new(testbed.store(), at));
    let world = Arc::new(FaultyWorld::new(testbed.world()));
    let plan = testbed.plan().await;
    let engine = engine_on(store.clone(), world.clone());
    tokio::select! {
        outcome = engine.start(&plan) => panic!("{at:?}: it did not crash: {outcome:?}"),
        () = store.crashed() => {}
    }
    world.calls()
}

fn assert_at_most_twice(at: CrashAt, before: Calls, after: Calls) {
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for (verb, name) in before.into_iter().chain(after) {
        if verb != Verb::Observe {
            *effects.entry(format!("{verb:?} {name}")).or_default() += 1;
        }
    }
    let twice = effects.values().filter(|count| **count == 2).count();
    assert!(effects.values().all(|count| *count <= 2), "{at:?}: {effects:?}");
    assert!(twice <= 1, "{at:?}: more than the step that was cut off was carried out twice: {effects:?}");
}
