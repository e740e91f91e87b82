//! Every single answer of Proxmox is lost once: before anything happened, after it
//! happened, and with a 596 for an answer.

use fedi_engine::Outcome;
use fedi_sim::faults::{Fault, RequestFault, RequestMatch};
use fedi_test::workflow::Testbed;
use fedi_testsite::{SiteBed, Task};

fn faults() -> [RequestFault; 3] {
    let broken_pipe = RequestFault::FailAfter { status: 596, reason: "Broken pipe".to_owned() };
    [RequestFault::DropReply, broken_pipe, RequestFault::Cut]
}

/// Loses the answer to the request with that number. What was done is done once, and the
/// task is either finished or taken back whole.
async fn lost(task: Task, number: u32, fault: RequestFault, goal: &fedi_test::workflow::Snapshot) {
    let bed = SiteBed::new(task).await;
    let at = format!("request {number}, {fault:?}");
    let before = bed.snapshot().await;
    bed.site.sim.clear_requests();
    let on = RequestMatch { method: None, path: None, skip: number, times: 1 };
    bed.site.sim.inject(Fault::Request { on, fault: fault.clone() });
    let plan = bed.plan().await;
    let engine = bed.site.engine();
    let mut outcome = engine.start(&plan).await.unwrap();
    let hit =
        bed.site.sim.requests().get(number as usize).map(|request| format!("{} {}", request.method, request.path));
    let at = format!("{at} ({})", hit.unwrap_or_default());
    if let Outcome::Paused { run, pivoted, .. } = outcome {
        assert!(pivoted, "{at}: {outcome:?}");
        outcome = engine.resume(run).await.unwrap();
    }
    match outcome {
        Outcome::Completed { .. } => assert_eq!(bed.snapshot().await, *goal, "{at}"),
        Outcome::Unwound { .. } => {
            assert_eq!(bed.snapshot().await, before, "{at}: {outcome:?}");
            // Nothing that is lost once is worth taking all back.
            panic!("{at}: {outcome:?}");
        }
        outcome => panic!("{at}: {outcome:?}"),
    }
    let tasks = bed.site.sim.tasks();
    let creates = tasks.iter().filter(|task| task.upid.contains(":qmcreate:")).count();
    assert_eq!(creates, 1, "{at}: {tasks:#?}");
}

async fn every_answer_is_lost(task: Task) {
    let bed = SiteBed::new(task).await;
    bed.site.sim.clear_requests();
    let plan = bed.plan().await;
    let outcome = bed.site.engine().start(&plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let requests = u32::try_from(bed.site.sim.requests().len()).unwrap();
    let goal = bed.snapshot().await;
    assert!(requests > 5, "{requests} requests only");
    for number in 0..requests {
        for fault in faults() {
            lost(task, number, fault, &goal).await;
        }
    }
}

#[tokio::test]
async fn deploy() {
    every_answer_is_lost(Task::Deploy).await;
}

#[tokio::test]
async fn change() {
    every_answer_is_lost(Task::Change).await;
}

#[tokio::test]
async fn destroy() {
    every_answer_is_lost(Task::Destroy).await;
}
