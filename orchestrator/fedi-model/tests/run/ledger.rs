//! What an event does to what fedi owns.

use fedi_model::run::LedgerChange;

use crate::*;

const V4: &str = "address/matrix/ipv4";

fn made(resource: Resource) -> LedgerChange {
    LedgerChange::Made { step: StepId::new(resource.id().as_str()), resource: Box::new(resource) }
}

fn gone(resource: &Resource) -> LedgerChange {
    LedgerChange::Gone {
        step: StepId::new(resource.id().as_str()),
        resource: resource.id(),
        along: resource.takes_along(),
    }
}

fn reverted(resource: &Resource) -> LedgerChange {
    LedgerChange::Reverted { step: StepId::new(resource.id().as_str()) }
}

#[test]
fn an_outcome_changes_it_and_an_intent_does_not() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9)), remove(v6(9))], vec![task()]]);
    assert_eq!(journal.state.ledger_change(&started(V4, None)), LedgerChange::None);
    journal.push(started(V4, None));
    assert_eq!(journal.state.ledger_change(&noted(V4)), LedgerChange::None);
    assert_eq!(journal.state.ledger_change(&finished(V4, Some(v4(9)))), made(v4(9)));
    assert_eq!(journal.state.ledger_change(&finished("address/matrix/ipv6", None)), gone(&v6(9)));
    assert_eq!(journal.state.ledger_change(&finished("await-guest", None)), LedgerChange::None);
    assert_eq!(journal.state.ledger_change(&RunEvent::Completed), LedgerChange::None);
}

#[test]
fn undoing_takes_a_layer_off_but_keeps_images() {
    let journal = Journal::of(vec![vec![ensure(v4(9)), ensure(image())]]);
    assert_eq!(journal.state.ledger_change(&undone(V4)), reverted(&v4(9)));
    assert_eq!(journal.state.ledger_change(&undone(image().id().as_str())), LedgerChange::None);
}

#[test]
fn what_is_left_is_owned_only_if_it_changed() {
    let mut journal = Journal::of(vec![vec![ensure(v4(9))]]);
    journal.push(started(V4, Some(v4(5))));
    // As it was before: perhaps somebody else's, which is why the step failed.
    assert_eq!(journal.state.ledger_change(&left(V4, Some(v4(5)))), reverted(&v4(9)));
    assert_eq!(journal.state.ledger_change(&left(V4, Some(v4(9)))), made(v4(9)));
    assert_eq!(journal.state.ledger_change(&left(V4, None)), gone(&v4(9)));
}
