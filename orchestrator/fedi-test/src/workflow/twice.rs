//! Run twice: the second time there is nothing to do.

use std::sync::Arc;

use fedi_engine::Outcome;

use super::{Testbed, engine_on, open_run};
use crate::{FaultyWorld, Verb};

/// Runs the workflow; a second plan is empty. Then carries the first plan out once more
/// in the world as it is now: the verbs are idempotent, so that changes nothing.
pub async fn runs_twice<T: Testbed>(make: impl AsyncFn() -> T) {
    let testbed = make().await;
    let plan = testbed.plan().await;
    assert!(!plan.is_empty(), "the workflow has something to do");

    let engine = engine_on(testbed.store(), testbed.world());
    let outcome = engine.start(&plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let done = testbed.snapshot().await;

    let again = testbed.plan().await;
    assert!(again.is_empty(), "the second plan is not empty: {again:#?}");
    assert_eq!(engine.start(&again).await.unwrap(), Outcome::NothingToDo);

    let watched = Arc::new(FaultyWorld::new(testbed.world()));
    let outcome = engine_on(testbed.store(), watched.clone()).start(&plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "the same plan again: {outcome:?}");
    assert_eq!(testbed.snapshot().await, done, "the same plan again changed the world");
    let effects = watched.calls().iter().filter(|(verb, _)| *verb != Verb::Observe).count();
    let steps = plan.steps().filter(|step| step.sign().is_some()).count();
    assert_eq!(effects, steps, "each step has one effect");
    assert_eq!(open_run(testbed.store().as_ref()).await, None);
}
