//! Ending a run where it stands.

use crate::*;

/// A run paused after its pivot at the records.
async fn paused(bench: &Bench, moment: Moment) -> RunId {
    bench.world.fail(Verb::Ensure, RECORDS, 1, moment, Denied);
    let outcome = bench.start(&bench.pivoting()).await;
    assert_eq!(outcome.exit_code(), 4);
    outcome.run().unwrap()
}

#[tokio::test]
async fn what_a_step_left_is_owned() {
    let bench = Bench::new();
    let run = paused(&bench, Moment::After).await;
    assert_eq!(bench.owned().await, [ADDRESS]);
    let outcome = bench.engine.abandon(run).await.unwrap();
    assert_eq!((outcome.exit_code(), outcome), (0, Outcome::Abandoned { run }));
    // The step failed after its effect: the records are there, and they are fedi's.
    assert_eq!(bench.owned().await, [ADDRESS, RECORDS]);
    assert_eq!(bench.engine.resume(run).await.unwrap_err().exit_code(), 2);
    assert_eq!(bench.start(&bench.short()).await.exit_code(), 0);
}

#[tokio::test]
async fn what_a_step_did_not_leave_is_not() {
    let bench = Bench::new();
    let run = paused(&bench, Moment::Before).await;
    bench.engine.abandon(run).await.unwrap();
    assert_eq!(bench.owned().await, [ADDRESS]);
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_told() {
    let bench = Bench::new();
    let run = paused(&bench, Moment::After).await;
    bench.world.fail(Verb::Observe, RECORDS, usize::MAX, Moment::Before, Unavailable);
    bench.engine.abandon(run).await.unwrap();
    let told = bench.context.recorder.events();
    let notice = told.iter().find_map(|event| match event {
        Event::Notice { message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(notice.unwrap(), format!("Could not look at `{RECORDS}`: it may or may not be there"));
}

#[tokio::test]
async fn on_the_way_back_what_is_gone_is_not_owned() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    // The address is released, and the reply is lost.
    bench.world.fail(Verb::Remove, ADDRESS, 1, Moment::After, Denied);
    let run = bench.start(&bench.short()).await.run().unwrap();
    assert_eq!(bench.owned().await, [ADDRESS]);
    bench.engine.abandon(run).await.unwrap();
    assert_eq!(bench.owned().await, [""; 0]);
    assert!(matches!(bench.state(run).await.step(&fedi_model::plan::StepId::new(ADDRESS)), StepState::Finished { .. }));
}
