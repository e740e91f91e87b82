//! Runs and their journals.

use fedi_engine::store::{Append, Fence, RunRow, StoreError};
use fedi_model::plan::Workflow;
use fedi_model::run::{Failure, FailureKind, LedgerChange, RunEvent, RunId, RunPhase, RunRecord};
use futures::future::join_all;

use super::{Journal, StoreBed, load, plan_of, start, writer};
use crate::sample::{Sample, ensure, pivot, run, stage};

fn address_step(deployment: &str) -> fedi_model::plan::Step {
    ensure(Sample::new(deployment).address(), None)
}

/// The first event of a run is its plan, and the numbers of runs grow.
pub async fn begins_runs(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let plan = plan_of("one", vec![address_step("one")]);
    let one = store.create_run(fence, &plan, start()).await.unwrap();
    let two = store.create_run(fence, &plan_of("two", vec![address_step("two")]), start()).await.unwrap();
    assert!(two > one);
    let again = bed.open().await;
    let planned = RunRecord { seq: 0, at: start(), event: RunEvent::Planned { plan: Box::new(plan) } };
    assert_eq!(again.records(one).await.unwrap(), [planned]);
    assert!(matches!(again.records(RunId(99)).await, Err(StoreError::NoRun(RunId(99)))));
}

/// Events come one by one; another number is refused and nothing is written.
pub async fn appends_in_order(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let plan = plan_of("one", vec![address_step("one")]);
    let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
    let run = journal.state.id;
    for wrong in [0, 2] {
        let event = RunEvent::Paused { reason: "no".to_owned() };
        let record = RunRecord { seq: wrong, at: start(), event };
        let append = Append { fence, run, record: &record, phase: RunPhase::Paused, ledger: &LedgerChange::None };
        match store.append(append).await {
            Err(StoreError::Sequence { run: told, expected: 1, got }) => assert_eq!((told, got), (run, wrong)),
            other => panic!("{other:?}"),
        }
    }
    journal.append(RunEvent::Paused { reason: "yes".to_owned() }).await.unwrap();
    assert_eq!(load(bed.open().await.as_ref(), run).await, journal.state);
    let record = RunRecord { seq: 0, at: start(), event: RunEvent::Abandoned };
    let append =
        Append { fence, run: RunId(99), record: &record, phase: RunPhase::Abandoned, ledger: &LedgerChange::None };
    assert!(matches!(store.append(append).await, Err(StoreError::NoRun(RunId(99)))));
}

/// Whoever does not hold the writer lease writes nothing.
pub async fn refuses_without_the_lease(bed: impl StoreBed) {
    let store = bed.open().await;
    let plan = plan_of("one", vec![address_step("one")]);
    let nobody = store.create_run(Fence(0), &plan, start()).await;
    assert!(matches!(nobody, Err(StoreError::Stale { .. })), "{nobody:?}");

    let old = writer(store.as_ref()).await;
    let mut journal = Journal::begin(store.as_ref(), old, &plan).await.unwrap();
    store.release(old).await.unwrap();
    let released = journal.append(RunEvent::Abandoned).await;
    assert!(matches!(released, Err(StoreError::Stale { .. })), "{released:?}");

    let new = writer(store.as_ref()).await;
    let stale = journal.append(RunEvent::Abandoned).await;
    assert!(matches!(stale, Err(StoreError::Stale { fence }) if fence == old), "{stale:?}");
    assert_eq!(store.records(journal.state.id).await.unwrap().len(), 1);
    journal.fence = new;
    journal.append(RunEvent::Abandoned).await.unwrap();
}

/// A deployment has one unfinished run at most.
pub async fn one_open_run_a_deployment(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let plan = plan_of("one", vec![address_step("one")]);
    let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
    match store.create_run(fence, &plan, start()).await {
        Err(StoreError::Unfinished { run, deployment }) => {
            assert_eq!((run, deployment.as_str()), (journal.state.id, "one"));
        }
        other => panic!("{other:?}"),
    }
    journal.append(RunEvent::Abandoned).await.unwrap();
    store.create_run(fence, &plan, start()).await.unwrap();
}

/// All runs, the newest first; the open ones, the oldest first.
pub async fn lists_runs(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let mut runs = Vec::new();
    for name in ["one", "two", "three"] {
        let plan = plan_of(name, vec![address_step(name)]);
        runs.push(Journal::begin(store.as_ref(), fence, &plan).await.unwrap());
    }
    runs[0].append(RunEvent::Paused { reason: "wait".to_owned() }).await.unwrap();
    runs[1].append(RunEvent::Abandoned).await.unwrap();
    let store = bed.open().await;
    let told = |rows: Vec<RunRow>| -> Vec<_> {
        rows.into_iter().map(|row| (row.deployment.to_string(), row.phase, row.events)).collect()
    };
    let row = |name: &str, phase, events| (name.to_owned(), phase, events);
    assert_eq!(
        told(store.runs().await.unwrap()),
        [row("three", RunPhase::Forward, 1), row("two", RunPhase::Abandoned, 2), row("one", RunPhase::Paused, 2)]
    );
    assert_eq!(
        told(store.open_runs().await.unwrap()),
        [row("one", RunPhase::Paused, 2), row("three", RunPhase::Forward, 1)]
    );
    let last = store.runs().await.unwrap().pop().unwrap();
    assert_eq!((last.workflow, last.host.as_str()), (Workflow::Deploy, "proxmox1"));
    assert_eq!((last.started, last.updated), (start(), start()));
}

/// What is read is what was written, to the nanosecond and whatever the text.
pub async fn keeps_every_event(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let sample = Sample::new("one");
    let mut plan = plan_of("one", vec![ensure(sample.address(), None)]);
    plan.stages.push(stage("wait", vec![run(sample.await_guest())]));
    plan.stages.push(stage("pivot", vec![pivot()]));
    let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
    let address = plan.stages[0].steps[0].id.clone();
    let failure = Failure {
        message: "\u{0}ü\n\"'--; DROP TABLE event".to_owned(),
        causes: vec!["x".repeat(100_000), String::new()],
        hint: Some("hint".to_owned()),
        left: None,
        kind: FailureKind::Transient,
    };
    let events = [
        RunEvent::Started { step: address.clone(), before: Some(Box::new(sample.address())) },
        RunEvent::Noted { step: address.clone(), key: "k".to_owned(), value: "v\u{10ffff}".to_owned() },
        RunEvent::Failed { step: address.clone(), failure: failure.clone() },
        RunEvent::Paused { reason: String::new() },
        RunEvent::Resumed { holder: "me".to_owned() },
        RunEvent::Unwinding { reason: "why".to_owned(), asked: true },
        RunEvent::UndoFailed { step: address.clone(), failure },
        RunEvent::Left { step: address.clone(), now: Some(Box::new(sample.address())) },
        RunEvent::Undone { step: address },
        RunEvent::Unwound,
    ];
    for event in events {
        let at = start() + jiff::SignedDuration::new(i64::try_from(journal.state.events).unwrap(), 123_456_789);
        let record = RunRecord { seq: journal.state.events, at, event };
        journal.append_record(record).await.unwrap();
    }
    let read = load(bed.open().await.as_ref(), journal.state.id).await;
    assert_eq!(read, journal.state);
}

/// Runs that are journaled at the same time do not mix.
pub async fn appends_of_many_runs_at_once(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let journals = (0..8).map(|number| {
        let store = store.clone();
        async move {
            let name = format!("run-{number}");
            let plan = plan_of(&name, vec![address_step(&name)]);
            let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
            let step = plan.stages[0].steps[0].id.clone();
            journal.append(RunEvent::Started { step: step.clone(), before: None }).await.unwrap();
            for value in 0..20 {
                let (step, key) = (step.clone(), "count".to_owned());
                journal.append(RunEvent::Noted { step, key, value: value.to_string() }).await.unwrap();
            }
            journal.state
        }
    });
    for state in join_all(journals).await {
        assert_eq!(load(store.as_ref(), state.id).await, state);
    }
}

/// Whoever reads while another process writes sees a journal as it was at one moment.
pub async fn reads_while_another_writes(bed: impl StoreBed) {
    let (store, other) = (bed.open().await, bed.open().await);
    let fence = writer(store.as_ref()).await;
    let plan = plan_of("one", vec![address_step("one")]);
    let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
    let (run, step) = (journal.state.id, plan.stages[0].steps[0].id.clone());
    let (enough, mut is_enough) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while is_enough.try_recv().is_err() {
            let records = other.records(run).await.unwrap();
            assert!(records.len() >= seen, "the journal grew shorter");
            seen = records.len();
        }
    });
    journal.append(RunEvent::Started { step: step.clone(), before: None }).await.unwrap();
    for value in 0..200 {
        let (step, key) = (step.clone(), "count".to_owned());
        journal.append(RunEvent::Noted { step, key, value: value.to_string() }).await.unwrap();
    }
    enough.send(()).unwrap();
    reader.await.unwrap();
}
