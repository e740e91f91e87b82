//! What takes a step back.

use fedi_model::run::{FailureKind, Undo};

use crate::*;

fn undo_of(step: Step, events: &[RunEvent]) -> Undo {
    let id = step.id.clone();
    let mut journal = Journal::of(vec![vec![step]]);
    for event in events {
        journal.push(event.clone());
    }
    journal.state.undo(&id)
}

const V4: &str = "address/matrix/ipv4";

#[test]
fn what_was_not_there_is_removed() {
    let before = || started(V4, None);
    assert_eq!(undo_of(ensure(v4(9)), &[]), Undo::Nothing);
    assert_eq!(undo_of(ensure(v4(9)), &[before()]), Undo::Remove(v4(9)));
    assert_eq!(undo_of(ensure(v4(9)), &[before(), failed(V4, FailureKind::Permanent)]), Undo::Remove(v4(9)));
    // As it was made, not as it was wanted.
    assert_eq!(undo_of(ensure(v4(9)), &[before(), finished(V4, Some(v4(8)))]), Undo::Remove(v4(8)));
}

#[test]
fn what_was_otherwise_is_restored() {
    let before = || started(V4, Some(v4(5)));
    assert_eq!(undo_of(ensure(v4(9)), &[before()]), Undo::Restore(v4(5)));
    assert_eq!(undo_of(ensure(v4(9)), &[before(), finished(V4, Some(v4(9)))]), Undo::Restore(v4(5)));
    assert_eq!(undo_of(ensure(v4(9)), &[before(), finished(V4, Some(v4(5)))]), Undo::Nothing);
}

#[test]
fn what_was_removed_is_restored() {
    assert_eq!(undo_of(remove(v4(9)), &[started(V4, Some(v4(9)))]), Undo::Restore(v4(9)));
    assert_eq!(undo_of(remove(v4(9)), &[started(V4, Some(v4(9))), finished(V4, None)]), Undo::Restore(v4(9)));
    assert_eq!(undo_of(remove(v4(9)), &[started(V4, None)]), Undo::Nothing);
    assert_eq!(undo_of(remove(v4(9)), &[started(V4, None), finished(V4, None)]), Undo::Nothing);
}

#[test]
fn images_are_kept() {
    let id = image().id().to_string();
    assert_eq!(undo_of(ensure(image()), &[started(&id, None)]), Undo::Nothing);
    assert_eq!(undo_of(ensure(image()), &[started(&id, None), finished(&id, Some(image()))]), Undo::Nothing);
}

#[test]
fn a_task_leaves_nothing() {
    assert_eq!(undo_of(task(), &[started("await-guest", None)]), Undo::Nothing);
}
