//! Random journals: nothing panics, a refused event changes nothing, and folding is
//! the same as going step by step.

use fedi_model::run::{FailureKind, RunPhase, Undo};
use proptest::prelude::*;

use crate::*;

fn stages() -> Vec<Vec<Step>> {
    vec![
        vec![ensure(v4(9)), ensure(v6(9)), ensure(image())],
        vec![task()],
        vec![pivot()],
        vec![remove(secret(Some(1)))],
    ]
}

fn any_step() -> impl Strategy<Value = StepId> {
    let mut ids: Vec<StepId> = plan(stages()).steps().map(|step| step.id.clone()).collect();
    ids.push(StepId::new("no such step"));
    prop::sample::select(ids)
}

/// A step and a resource that mostly is its own.
fn any_step_and_resource() -> impl Strategy<Value = (StepId, Option<Box<Resource>>)> {
    let some = vec![v4(5), v4(9), v6(5), v6(9), image(), secret(Some(1)), secret(Some(2))];
    let any = prop::option::of(prop::sample::select(some).prop_map(Box::new));
    let own = |step: &StepId| {
        let resource = match step.as_str() {
            "address/matrix/ipv4" => v4(9),
            "address/matrix/ipv6" => v6(9),
            "image/proxmox1/fedi-guest-0123456789abcdef.qcow2" => image(),
            _ => return None,
        };
        Some(Box::new(resource))
    };
    (any_step(), prop::bool::weighted(0.7), any).prop_map(move |(step, is_own, any)| {
        let resource = if is_own { own(&step) } else { any };
        (step, resource)
    })
}

fn any_failure() -> impl Strategy<Value = Failure> {
    use FailureKind::{Interrupted, Permanent, Transient, Unhealthy};
    prop::sample::select(vec![Transient, Permanent, Unhealthy, Interrupted]).prop_map(failure)
}

fn any_event() -> impl Strategy<Value = RunEvent> {
    prop_oneof![
        1 => Just(RunEvent::Planned { plan: Box::new(plan(stages())) }),
        60 => any_step_and_resource().prop_map(|(step, before)| RunEvent::Started { step, before }),
        9 => any_step().prop_map(|step| noted(step.as_str())),
        60 => any_step_and_resource().prop_map(|(step, after)| RunEvent::Finished { step, after }),
        20 => (any_step(), any_failure()).prop_map(|(step, failure)| RunEvent::Failed { step, failure }),
        20 => any_step().prop_map(|step| RunEvent::Pivoted { step }),
        1 => any::<bool>().prop_map(|asked| RunEvent::Unwinding { reason: "random".to_owned(), asked }),
        20 => any_step().prop_map(|step| RunEvent::Undone { step }),
        4 => (any_step(), any_failure()).prop_map(|(step, failure)| RunEvent::UndoFailed { step, failure }),
        4 => Just(paused()),
        12 => Just(resumed()),
        4 => any_step_and_resource().prop_map(|(step, now)| RunEvent::Left { step, now }),
        20 => Just(RunEvent::Completed),
        4 => Just(RunEvent::Unwound),
        1 => prop::bool::weighted(0.2).prop_map(|over| if over { RunEvent::Abandoned } else { resumed() }),
    ]
}

/// A random walk, weighted so that it comes to every end.
fn any_journal() -> impl Strategy<Value = Vec<RunEvent>> {
    prop::collection::vec(any_event(), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_events(events in any_journal()) {
        let mut journal = Journal::of(stages());
        for event in events {
            // What it does to the ledger and what would undo it can always be asked.
            let _ = journal.state.ledger_change(&event);
            if let Some(step) = event.step() {
                let _ = journal.state.undo(step);
            }
            let was_over = journal.state.phase.is_over();
            let was_pivoted = journal.state.pivoted;
            let accepted = journal.try_push(event.clone()).is_ok();
            prop_assert!(!(accepted && was_over), "an event after the end");
            prop_assert!(!was_pivoted || journal.state.pivoted, "a pivot stays behind");
            if journal.state.pivoted {
                prop_assert!(!matches!(journal.state.phase, RunPhase::Backward | RunPhase::Unwound));
            }
            if journal.state.phase == RunPhase::Unwound {
                prop_assert!(journal.state.to_undo().is_empty());
            }
        }
        prop_assert_eq!(RunState::fold(RunId(7), &journal.records).unwrap(), journal.state.clone());
        let json = serde_json::to_string(&journal.records).unwrap();
        let read: Vec<RunRecord> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read, journal.records);
    }

    /// From wherever a run is, the way back leads to its end.
    #[test]
    fn the_way_back_ends(events in any_journal()) {
        let mut journal = Journal::of(stages());
        for event in events {
            let _ = journal.try_push(event);
        }
        if journal.state.phase.is_over() || journal.state.pivoted {
            return Ok(());
        }
        journal.push(resumed());
        if journal.state.phase == RunPhase::Forward {
            journal.push(unwinding());
        }
        for step in journal.state.to_undo() {
            if let Undo::Remove(resource) | Undo::Restore(resource) = journal.state.undo(&step) {
                prop_assert_eq!(journal.state.plan.step(&step).unwrap().resource(), Some(resource.id()));
            }
            journal.push(RunEvent::Undone { step });
        }
        journal.push(RunEvent::Unwound);
    }
}
