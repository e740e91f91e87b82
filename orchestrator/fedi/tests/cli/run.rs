//! `fedi run` where there is nothing to do.

use insta::assert_snapshot;

use crate::support::Machine;

#[test]
fn no_runs() {
    let machine = Machine::with_inventory();
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 0
    ----- stdout -----
    No runs yet
    ");
    assert_snapshot!(machine.fedi("run list --open --json"), @r#"
    exit code: 0
    ----- stdout -----
    {"runs":[],"schema":1}
    "#);
    assert_snapshot!(machine.fedi("run show 7"), @"
    exit code: 2
    ----- stderr -----
    error: There is no run 7

    hint: `fedi run list` shows the runs there are
    ");
    assert_snapshot!(machine.fedi("run show seven"), @"
    exit code: 2
    ----- stderr -----
    error: invalid value 'seven' for '<RUN>': a run goes by its number, as in `fedi run list`

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi("run resume"), @"
    exit code: 2
    ----- stderr -----
    error: Every run is finished

    hint: `fedi run list` shows them
    ");
    assert_snapshot!(machine.fedi("run undo 7 --yes"), @"
    exit code: 2
    ----- stderr -----
    error: There is no run 7

    hint: `fedi run list` shows the runs there are
    ");
    assert_snapshot!(machine.fedi("run abandon"), @"
    exit code: 2
    ----- stderr -----
    error: Every run is finished

    hint: `fedi run list` shows them
    ");
}
