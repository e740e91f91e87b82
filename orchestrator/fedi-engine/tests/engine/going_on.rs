//! Stopping, going on, going back.

use crate::*;

#[tokio::test]
async fn nothing_to_do() {
    let bench = Bench::new();
    let outcome = bench.start(&bench.plan(vec![])).await;
    assert_eq!((outcome.exit_code(), outcome), (0, Outcome::NothingToDo));
    assert!(bench.context.store.runs().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_interrupt_pauses_before_the_pivot_too() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let (plan, interrupt) = (bench.short(), bench.engine.interrupt());
    let outcome =
        meanwhile(&bench.world, (Verb::Ensure, RECORDS), bench.start(&plan), async { interrupt.request() }).await;
    let Outcome::Paused { run, direction: Direction::Forward, failure: None, ref reason, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((outcome.exit_code(), reason.as_str()), (4, "Interrupted"));
    // The wish stands: this engine begins nothing new.
    assert_eq!(bench.engine.resume(run).await.unwrap().exit_code(), 4);
    let engine = bench.context.engine(bench.world.clone());
    assert_eq!(engine.resume(run).await.unwrap(), Outcome::Completed { run });
}

#[tokio::test]
async fn an_interrupt_on_the_way_back_keeps_the_direction() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    bench.world.fail(Verb::Remove, RECORDS, 1, Moment::Hang, Failed);
    let (plan, interrupt) = (bench.short(), bench.engine.interrupt());
    let outcome =
        meanwhile(&bench.world, (Verb::Remove, RECORDS), bench.start(&plan), async { interrupt.request() }).await;
    let Outcome::Paused { run, direction: Direction::Backward, .. } = outcome else { panic!("{outcome:?}") };
    let engine = bench.context.engine(bench.world.clone());
    let outcome = engine.resume(run).await.unwrap();
    assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{outcome:?}");
    assert!(bench.map.snapshot().is_empty());
}

#[tokio::test]
async fn a_run_is_undone_at_the_operators_word() {
    let bench = Bench::new();
    let (plan, interrupt) = (bench.short(), bench.engine.interrupt());
    interrupt.request();
    let run = bench.start(&plan).await.run().unwrap();
    let engine = bench.context.engine(bench.world.clone());
    let outcome = engine.undo(run).await.unwrap();
    assert_eq!((outcome.exit_code(), outcome), (0, Outcome::Unwound { run, failure: None }));
    assert!(bench.state(run).await.asked_back);
    let over = engine.undo(run).await.unwrap_err();
    assert!(matches!(over, EngineError::Over { phase: RunPhase::Unwound, .. }));
    assert_eq!(over.exit_code(), 2);
}

#[tokio::test]
async fn a_driver_finds_its_notes_again() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, ADDRESS, 1, Moment::After, Failed);
    let run = bench.start(&bench.short()).await.run().unwrap();
    let state = bench.state(run).await;
    let step = state.plan.steps().next().unwrap().id.clone();
    assert_eq!(state.note(&step, "began"), Some("yes"));
}

#[tokio::test]
async fn a_deployment_with_an_unfinished_run_gets_no_other() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    let run = bench.start(&bench.pivoting()).await.run().unwrap();
    let error = bench.engine.start(&bench.short()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("Run {run} of `matrix` is not finished"));
    assert_eq!(error.exit_code(), 2);
    assert!(error.hint().unwrap().contains(&format!("fedi run abandon {run}")));
    // Another deployment is none of its business.
    let other = Sample::new("peertube").deploy(bench.map.as_ref()).await;
    assert_eq!(bench.start(&other).await.exit_code(), 0);
}

#[tokio::test]
async fn a_plan_that_destroys_before_its_pivot_is_refused() {
    let bench = Bench::new();
    let plan = bench.plan(vec![stage("machine", vec![remove(bench.sample.vm())])]);
    let error = bench.engine.start(&plan).await.unwrap_err();
    assert!(matches!(error, EngineError::Unsound(_)), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(bench.world.calls().is_empty());
}

#[tokio::test]
async fn no_such_run() {
    let bench = Bench::new();
    let error = bench.engine.resume(RunId(7)).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("There is no run 7", 2));
}

#[tokio::test]
async fn a_run_that_is_dropped_can_be_resumed_by_the_same_engine() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let plan = bench.short();
    tokio::select! {
        outcome = bench.engine.start(&plan) => panic!("{outcome:?}"),
        () = async {
            while bench.world.count(Verb::Ensure, RECORDS) == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let open = bench.context.store.open_runs().await.unwrap();
    assert_eq!(open[0].phase, RunPhase::Forward);
    assert_eq!(bench.engine.resume(open[0].id).await.unwrap().exit_code(), 0);
}

#[tokio::test]
async fn what_happens_is_told_in_order() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    bench.start(&bench.short()).await;
    let told: Vec<String> = bench
        .context
        .recorder
        .events()
        .iter()
        .map(|event| {
            let json = serde_json::to_value(event).unwrap();
            let about = ["title", "step", "phase"].iter().find_map(|key| json[key].as_str());
            format!("{} {}", json["event"].as_str().unwrap(), about.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        told,
        [
            "run-started ",
            "stage-started address",
            &format!("step-started {ADDRESS}"),
            &format!("step-finished {ADDRESS}"),
            "stage-started names",
            &format!("step-started {RECORDS}"),
            &format!("step-failed {RECORDS}"),
            "unwinding ",
            &format!("step-undoing {RECORDS}"),
            &format!("step-undone {RECORDS}"),
            &format!("step-undoing {ADDRESS}"),
            &format!("step-undone {ADDRESS}"),
            "run-stopped unwound"
        ]
    );
}
