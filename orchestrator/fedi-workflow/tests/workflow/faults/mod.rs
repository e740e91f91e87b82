//! What goes wrong, one by one: what the operator is told, how the command ends, and what
//! there is in the world afterwards.

mod addresses;
mod guest;
mod hypervisor;
mod image;
mod journal;
mod names;
mod powerdns;
mod repository;
mod stopped;

use fedi_engine::Outcome;
use fedi_model::event::Event;
use fedi_model::run::Failure;
use fedi_test::workflow::Snapshot;
use fedi_testsite::{Setup, TestSite, Wires};
use fedi_workflow::WorkflowError;

/// A site whose steps are tried once: what is wrong stays wrong.
async fn site() -> TestSite {
    TestSite::with(Setup::default(), Wires::default()).await
}

/// Exit code 1: taken back, with the world as it was, and what to do.
#[track_caller]
fn unwound(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::Unwound { failure: Some(failure), .. } => {
            assert_eq!(outcome.exit_code(), 1);
            assert!(failure.hint.is_some(), "no hint in {failure:?}");
            failure.clone()
        }
        other => panic!("{other:?}"),
    }
}

/// Exit code 4: stopped part-way, and what to do.
#[track_caller]
fn paused(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::Paused { failure: Some(failure), .. } => {
            assert_eq!(outcome.exit_code(), 4);
            assert!(failure.hint.is_some(), "no hint in {failure:?}");
            failure.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn completed(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
}

/// The failure says this, in this order: message, causes, hint.
#[track_caller]
fn says(failure: &Failure, message: &str, cause: &str, hint: &str) {
    assert_eq!(failure.message, message, "{failure:?}");
    assert!(failure.causes.iter().any(|text| text.contains(cause)), "no `{cause}` in {failure:?}");
    assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "no `{hint}` in {failure:?}");
}

/// A refusal before anything is touched (exit code 2): its causes and hints.
#[track_caller]
fn refused(result: Result<Outcome, WorkflowError>) -> Vec<(String, String)> {
    match result {
        Err(WorkflowError::Refused(error)) => {
            let told = error.refusals.iter();
            told.map(|refusal| (refusal.to_string(), refusal.hint().unwrap_or_default())).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Nothing is there at all: no VM, disk, address, record, secret, and no journal of one.
async fn nothing_is_left(site: &TestSite) {
    assert_eq!(site.snapshot().await, Snapshot::new());
    let ledger = site.wiring.ledger("matrix").await;
    assert_eq!(ledger, Vec::<String>::new());
    assert_eq!(site.wiring.store.open_runs().await.unwrap(), []);
}

/// What the operator was told beside the progress.
fn notices(site: &TestSite) -> Vec<String> {
    let events = site.recorder.events().into_iter();
    events.filter_map(|event| if let Event::Notice { message } = event { Some(message) } else { None }).collect()
}
