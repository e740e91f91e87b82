//! What may follow what.

use fedi_model::run::{Direction, FailureKind, RunPhase, StepState};

use crate::*;

const V4: &str = "address/matrix/ipv4";
const V6: &str = "address/matrix/ipv6";

#[test]
fn a_run_from_beginning_to_end() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), ensure(v6(9))], vec![pivot()], vec![task()]]);
    journal
        .push(started(V4, None))
        .push(started(V6, None))
        .push(noted(V6))
        .push(finished(V6, Some(v6(9))))
        .push(finished(V4, Some(v4(9))))
        .push(RunEvent::Pivoted { step: StepId::new("pivot") })
        .does("await-guest", None, None)
        .push(RunEvent::Completed);
    assert_eq!(journal.state.phase, RunPhase::Completed);
    assert!(journal.state.pivoted);
    assert_eq!(journal.state.note(&StepId::new(V6), "upid"), Some("1"));
    assert_eq!(journal.state.unfinished().count(), 0);
    assert_eq!(RunState::fold(RunId(7), &journal.records).unwrap(), journal.state);
    assert!(journal.refused(resumed()).contains("completed"));
}

#[test]
fn the_first_event() {
    let record = |seq, event| RunRecord { seq, at: jiff::Timestamp::UNIX_EPOCH, event };
    let planned = || RunEvent::Planned { plan: Box::new(plan(vec![vec![ensure(v4(9))]])) };
    assert!(RunState::begin(RunId(7), &record(0, planned())).is_ok());
    assert!(RunState::begin(RunId(7), &record(1, planned())).is_err());
    assert!(RunState::begin(RunId(7), &record(0, RunEvent::Completed)).is_err());
    assert!(RunState::fold(RunId(7), &[]).is_err());
    let unsound = RunEvent::Planned { plan: Box::new(plan(vec![vec![]])) };
    assert!(RunState::begin(RunId(7), &record(0, unsound)).unwrap_err().what.contains("has no steps"));
    let mut journal = Journal::of(vec![vec![ensure(v4(9))]]);
    assert_eq!(journal.refused(planned()), "a run is planned once");
}

#[test]
fn events_are_numbered_without_gaps() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9))]]);
    for seq in [0, 2] {
        let record = RunRecord { seq, ..journal.next(started(V4, None)) };
        assert_eq!(journal.state.apply(&record).unwrap_err().what, "expected event 1");
    }
}

#[test]
fn stages_come_in_order() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), ensure(v6(9))], vec![pivot()], vec![task()]]);
    journal.does(V4, None, Some(v4(9)));
    let pivoted = || RunEvent::Pivoted { step: StepId::new("pivot") };
    assert!(journal.refused(started("await-guest", None)).contains("earlier stage"));
    assert!(journal.refused(pivoted()).contains("earlier stage"));
    journal.push(started(V6, None));
    assert!(journal.refused(pivoted()).contains("earlier stage"));
    journal.push(finished(V6, Some(v6(9)))).push(pivoted());
    assert!(journal.refused(pivoted()).contains("is finished"));
}

#[test]
fn a_step_and_its_outcome() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), remove(v6(9))], vec![task()]]);
    assert!(journal.refused(finished(V4, Some(v4(9)))).contains("waiting"));
    assert!(journal.refused(noted(V4)).contains("waiting"));
    assert!(journal.refused(started("nothing", None)).contains("no step"));
    assert!(journal.refused(started(V4, Some(v6(1)))).contains("not about"));
    journal.push(started(V4, None)).push(started(V6, Some(v6(9))));
    assert!(journal.refused(finished(V4, None)).contains("must say how it is"));
    assert!(journal.refused(finished(V4, Some(v6(9)))).contains("not about"));
    assert!(journal.refused(finished(V6, Some(v6(9)))).contains("still there"));
    journal.push(finished(V4, Some(v4(9)))).push(finished(V6, None));
    assert!(journal.refused(started(V4, None)).contains("finished"));
    assert!(journal.refused(failed(V4, FailureKind::Permanent)).contains("finished"));
    assert!(journal.refused(started("await-guest", Some(v4(9)))).contains("not about"));
}

#[test]
fn what_was_there_before_the_first_try_counts() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9))]]);
    journal
        .push(started(V4, Some(v4(5))))
        .push(started(V4, Some(v4(9))))
        .push(failed(V4, FailureKind::Transient))
        .push(started(V4, None))
        .push(finished(V4, Some(v4(9))));
    assert_eq!(journal.state.step(&StepId::new(V4)).before(), Some(&v4(5)));
}

#[test]
fn what_failed_before_it_began_touched_nothing() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9))]]);
    journal.push(failed(V4, FailureKind::Permanent));
    assert_eq!(*journal.state.step(&StepId::new(V4)), StepState::Waiting);
    assert_eq!(journal.state.failure, Some(failure(FailureKind::Permanent)));
    journal.push(unwinding());
    assert!(journal.state.to_undo().is_empty());
    journal.push(RunEvent::Unwound);
}

#[test]
fn a_step_that_only_stopped_is_not_the_reason() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), ensure(v6(9))]]);
    journal.push(started(V4, None)).push(started(V6, None));
    journal.push(failed(V4, FailureKind::Permanent)).push(failed(V6, FailureKind::Interrupted));
    assert_eq!(journal.state.failure, Some(failure(FailureKind::Permanent)));
}

#[test]
fn backward_everything_begun_is_undone() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), ensure(v6(9))], vec![task()]]);
    journal.does(V4, None, Some(v4(9))).push(started(V6, None));
    assert!(journal.refused(undone(V4)).contains("running"));
    assert!(journal.refused(RunEvent::Unwound).contains("running"));
    journal.push(unwinding());
    assert_eq!(journal.state.to_undo(), [StepId::new(V6), StepId::new(V4)]);
    for event in [started(V6, None), finished(V6, Some(v6(9))), failed(V6, FailureKind::Permanent), unwinding()] {
        assert!(journal.refused(event).contains("unwinding"));
    }
    assert!(journal.refused(undone("await-guest")).contains("waiting"));
    assert!(journal.refused(RunEvent::Unwound).contains("not undone"));
    journal.push(noted(V6)).push(undone(V6)).push(undone(V4));
    assert!(journal.refused(undone(V4)).contains("undone"));
    journal.push(RunEvent::Unwound);
    assert_eq!(journal.state.phase, RunPhase::Unwound);
}

#[test]
fn there_is_no_way_back_past_the_pivot() {
    let mut journal = Journal::of(vec![vec![pivot()], vec![ensure(v4(9))]]);
    assert!(journal.refused(started("pivot", None)).contains("is a pivot"));
    assert!(journal.refused(RunEvent::Pivoted { step: StepId::new(V4) }).contains("no pivot"));
    journal.push(RunEvent::Pivoted { step: StepId::new("pivot") });
    assert!(journal.refused(unwinding()).contains("past its pivot"));
}

#[test]
fn a_pause_keeps_the_direction() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), ensure(v6(9))]]);
    journal.push(started(V4, None)).push(paused());
    assert_eq!((journal.state.phase, journal.state.direction), (RunPhase::Paused, Direction::Forward));
    for event in [paused(), started(V4, None), finished(V4, Some(v4(9))), noted(V4), unwinding(), RunEvent::Completed] {
        assert!(journal.refused(event).contains("paused"));
    }
    journal.push(resumed());
    assert_eq!((journal.state.phase, journal.state.reason.as_deref()), (RunPhase::Forward, None));
    let undo_failed = RunEvent::UndoFailed { step: StepId::new(V4), failure: failure(FailureKind::Transient) };
    journal.push(unwinding()).push(undo_failed).push(paused());
    assert_eq!((journal.state.phase, journal.state.direction), (RunPhase::Paused, Direction::Backward));
    assert!(journal.state.undo_failure.is_some());
    assert!(journal.refused(undone(V4)).contains("paused"));
    journal.push(resumed());
    assert_eq!((journal.state.phase, journal.state.undo_failure.is_none()), (RunPhase::Backward, true));
    journal.push(undone(V4)).push(RunEvent::Unwound);
}

#[test]
fn applied_but_unhealthy_is_over() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9))], vec![task()]]);
    journal.push(started(V4, None)).push(failed(V4, FailureKind::Unhealthy));
    assert!(journal.refused(RunEvent::Completed).contains("not done"));
    journal.push(started(V4, None)).push(finished(V4, Some(v4(9))));
    assert!(journal.refused(RunEvent::Completed).contains("not done"));
    journal.push(started("await-guest", None)).push(failed("await-guest", FailureKind::Permanent));
    assert!(journal.refused(RunEvent::Completed).contains("not done"));
    journal.push(started("await-guest", None)).push(failed("await-guest", FailureKind::Unhealthy));
    journal.push(RunEvent::Completed);
    assert_eq!(journal.state.failure, Some(failure(FailureKind::Unhealthy)));
}

#[test]
fn a_failure_that_passed_is_forgotten_at_the_end() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9))]]);
    journal.push(started(V4, None)).push(failed(V4, FailureKind::Transient));
    journal.does(V4, None, Some(v4(9))).push(RunEvent::Completed);
    assert_eq!(journal.state.failure, None);
}

#[test]
fn it_can_be_abandoned_from_anywhere() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), ensure(v6(9))], vec![task()]]);
    assert!(journal.refused(left(V4, Some(v4(9)))).contains("cannot have left"));
    journal.push(started(V4, None)).push(paused());
    assert!(journal.refused(left(V4, Some(v6(9)))).contains("not about"));
    assert!(journal.refused(left("await-guest", None)).contains("cannot have left"));
    journal.push(left(V4, Some(v4(9)))).push(RunEvent::Abandoned);
    assert_eq!(journal.state.phase, RunPhase::Abandoned);
}
