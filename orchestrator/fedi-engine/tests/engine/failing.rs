//! Steps that fail.

use std::time::Duration;

use fedi_engine::EngineOptions;

use crate::*;

#[tokio::test]
async fn before_the_pivot_a_failure_unwinds() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    let outcome = bench.start(&bench.short()).await;
    let Outcome::Unwound { run, failure: Some(failure) } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.message, format!("Failed to ensure `{RECORDS}`"));
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(
        bench.journal(*run).await,
        [
            "planned",
            &format!("started {ADDRESS}"),
            &format!("finished {ADDRESS}"),
            &format!("started {RECORDS}"),
            &format!("failed {RECORDS}"),
            "unwinding",
            &format!("undone {RECORDS}"),
            &format!("undone {ADDRESS}"),
            "unwound"
        ]
    );
    // The outcome of the failed step is unknown, so it is removed too.
    assert_eq!(bench.world.count(Verb::Remove, RECORDS), 1);
    assert!(bench.map.snapshot().is_empty());
}

#[tokio::test]
async fn what_failed_before_it_began_is_not_undone() {
    let bench = Bench::new();
    bench.fail(Verb::Observe, RECORDS, Denied);
    let outcome = bench.start(&bench.short()).await;
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(bench.world.count(Verb::Remove, RECORDS), 0);
    assert_eq!(bench.world.count(Verb::Remove, ADDRESS), 1);
}

#[tokio::test]
async fn after_the_pivot_a_failure_pauses() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    let outcome = bench.start(&bench.pivoting()).await;
    let Outcome::Paused { run, direction: Direction::Forward, pivoted: true, failure: Some(_), .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(outcome.exit_code(), 4);
    let error = bench.engine.undo(run).await.unwrap_err();
    assert!(matches!(error, EngineError::PastPivot { .. }));
    assert_eq!(error.exit_code(), 2);
    assert!(error.hint().unwrap().contains(&format!("fedi run resume {run}")));
    assert_eq!(bench.engine.resume(run).await.unwrap(), Outcome::Completed { run });
    assert_eq!(bench.world.count(Verb::Ensure, ADDRESS), 1);
}

#[tokio::test]
async fn who_does_not_answer_is_asked_again() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, ADDRESS, 1, Moment::After, Unavailable);
    bench.world.fail(Verb::Observe, RECORDS, 2, Moment::Before, Unavailable);
    let outcome = bench.start(&bench.short()).await;
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let waits: Vec<u64> = bench
        .context
        .recorder
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::StepRetrying { wait_s, .. } => Some(wait_s),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [1, 1, 2]);
    assert_eq!(bench.world.count(Verb::Ensure, ADDRESS), 2);
    // What was there before its first try is not looked at a second time.
    assert_eq!(bench.world.count(Verb::Observe, ADDRESS), 1);
}

#[tokio::test]
async fn who_never_answers_has_failed() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, usize::MAX, Moment::Before, Unavailable);
    let outcome = bench.start(&bench.short()).await;
    assert_eq!(outcome.failure().unwrap().kind, FailureKind::Transient);
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(bench.world.count(Verb::Ensure, RECORDS), 3);
}

#[tokio::test]
async fn who_has_waited_long_is_not_asked_again() {
    let bench = Bench::new();
    let options = EngineOptions { backoff: Duration::from_secs(61), ..EngineOptions::default() };
    let engine = bench.context.engine(bench.world.clone()).with_options(options);
    // More than a minute passes between its first two tries.
    bench.world.fail(Verb::Ensure, ADDRESS, 2, Moment::Before, Unavailable);
    let outcome = engine.start(&bench.short()).await.unwrap();
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(bench.world.count(Verb::Ensure, ADDRESS), 2);
}

#[tokio::test]
async fn what_is_refused_is_not_asked_again() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Foreign);
    assert_eq!(bench.start(&bench.short()).await.exit_code(), 1);
    assert_eq!(bench.world.count(Verb::Ensure, RECORDS), 1);
}

#[tokio::test]
async fn applied_but_unhealthy() {
    let bench = Bench::new();
    bench.fail(Verb::Run, PROBE, Unhealthy);
    for plan in [bench.short(), bench.pivoting()] {
        let bench = Bench::new();
        bench.fail(Verb::Run, PROBE, Unhealthy);
        let outcome = bench.start(&plan).await;
        let Outcome::Unhealthy { run, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(outcome.exit_code(), 6);
        let state = bench.state(run).await;
        assert_eq!(state.phase, RunPhase::Completed);
        assert_eq!(state.failure.unwrap().kind, FailureKind::Unhealthy);
        // It is over: the next one can begin.
        assert_eq!(bench.engine.resume(run).await.unwrap_err().exit_code(), 2);
        assert_eq!(bench.start(&plan).await.exit_code(), 0);
    }
}

#[tokio::test]
async fn unhealthy_before_all_is_applied_is_a_failure() {
    let bench = Bench::new();
    bench.fail(Verb::Run, "await-guest/matrix", Unhealthy);
    let plan = |pivots: bool| {
        let mut stages = vec![
            stage("guest", vec![run(bench.sample.await_guest())]),
            stage("names", vec![ensure(bench.sample.records(), None)]),
        ];
        if pivots {
            stages.insert(0, stage("pivot", vec![pivot()]));
        }
        bench.plan(stages)
    };
    assert_eq!(bench.start(&plan(false)).await.exit_code(), 1);
    bench.fail(Verb::Run, "await-guest/matrix", Unhealthy);
    assert_eq!(bench.start(&plan(true)).await.exit_code(), 4);
}

#[tokio::test]
async fn a_panic_is_a_failure_and_its_words_stay_out_of_the_journal() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Panic, Failed);
    let outcome = bench.start(&bench.short()).await;
    let failure = outcome.failure().unwrap();
    assert!(failure.causes[0].contains("panicked"), "{failure:?}");
    let records = bench.context.store.records(outcome.run().unwrap()).await.unwrap();
    assert!(!serde_json::to_string(&records).unwrap().contains("injected"));
    assert!(bench.map.snapshot().is_empty());
}

#[tokio::test]
async fn an_undo_that_fails_pauses_and_is_resumed() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    bench.world.fail(Verb::Remove, ADDRESS, 1, Moment::Before, Denied);
    let outcome = bench.start(&bench.short()).await;
    let Outcome::Paused { run, direction: Direction::Backward, failure: Some(failure), .. } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(failure.message, format!("Failed to remove `{ADDRESS}`"));
    assert_eq!(outcome.exit_code(), 4);
    assert_eq!(bench.owned().await, [ADDRESS]);
    let outcome = bench.engine.resume(*run).await.unwrap();
    // It ends as what it is: a deploy that failed.
    let Outcome::Unwound { failure: Some(failure), .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.message, format!("Failed to ensure `{RECORDS}`"));
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(bench.world.count(Verb::Remove, RECORDS), 1);
    assert!(bench.owned().await.is_empty());
}

#[tokio::test]
async fn who_does_not_answer_is_asked_again_on_the_way_back() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    bench.world.fail(Verb::Remove, ADDRESS, 2, Moment::Before, Unavailable);
    let outcome = bench.start(&bench.short()).await;
    assert!(matches!(outcome, Outcome::Unwound { .. }), "{outcome:?}");
    assert_eq!(bench.world.count(Verb::Remove, ADDRESS), 3);
}
