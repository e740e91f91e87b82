//! What is told of runs afterwards.

use fedi_engine::{RunReport, RunSummary};

use crate::*;

#[tokio::test]
async fn a_run_that_was_cut_off_is_said_to_be() {
    let bench = Bench::new();
    let store = bench.context.store.clone();
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
    let summary = RunSummary::open(store.as_ref()).await.unwrap().remove(0);
    assert_eq!((summary.phase, summary.cut_off), (RunPhase::Forward, true));
    assert_eq!(summary.state(), "cut off");
    let report = RunReport::load(store.as_ref(), summary.run).await.unwrap();
    assert!(report.summary.cut_off && report.can_resume && report.can_undo && !report.pivoted);
    let states: Vec<_> = report.stages.iter().flat_map(|stage| &stage.steps).map(|step| step.state).collect();
    assert_eq!(states, ["finished", "started", "waiting"]);

    bench.engine.resume(summary.run).await.unwrap();
    let summary = RunSummary::all(store.as_ref()).await.unwrap().remove(0);
    assert_eq!((summary.state().as_str(), summary.cut_off), ("completed", false));
}

#[tokio::test]
async fn what_json_tells() {
    let bench = Bench::new();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    let run = bench.start(&bench.pivoting()).await.run().unwrap();
    let report = RunReport::load(bench.context.store.as_ref(), run).await.unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["run"], run.0);
    assert_eq!(json["workflow"], "deploy");
    assert_eq!(json["phase"], "paused");
    assert_eq!((&json["can-resume"], &json["can-undo"], &json["pivoted"]), (&true.into(), &false.into(), &true.into()));
    assert_eq!(json["failure"]["kind"], "permanent");
    assert_eq!(json["stages"][1]["steps"][0]["sign"], serde_json::Value::Null);
    assert_eq!(json["stages"][2]["steps"][0]["state"], "failed");
    assert_eq!(json["stages"][2]["steps"][0]["failure"]["message"], format!("Failed to ensure `{RECORDS}`"));
}
