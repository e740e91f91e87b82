//! Rehearsals by a timer: what is due, what is not, and what cannot be. That one is made
//! and proved is in `tests/state/run`.

use insta::assert_snapshot;

use crate::support::Machine;

const NOWHERE: &str = "https://127.0.0.1:1";

fn machine(backup: &str) -> Machine {
    let machine = Machine::with_deployment(NOWHERE);
    let path = "inventory/hosts/here/deployments/notes.toml";
    machine.write(path, &format!("{}{backup}", machine.read(path)));
    machine
}

#[test]
fn nothing_says_how_often() {
    assert_snapshot!(machine("").fedi("backup drill --due"), @"
    exit code: 0
    ----- stdout -----
    Nothing is rehearsed by itself: no `backup.drill-days` in the files of deployments
    ");
}

#[test]
fn what_is_not_deployed_is_left_alone() {
    let machine = machine("[backup]\ndrill-days = 30\n");
    assert_snapshot!(machine.fedi("backup drill --due"), @"
    exit code: 0
    ----- stdout -----
    -        notes: not deployed
    ");
    assert_snapshot!(machine.fedi("--json backup drill --due notes"), @r#"
    exit code: 0
    ----- stdout -----
    {"rehearsals":[{"became":"not-deployed","deployment":"notes"}],"schema":1}
    "#);
}

#[test]
fn which_one() {
    let machine = machine("");
    assert_snapshot!(machine.fedi("backup drill notes notes"), @"
    exit code: 2
    ----- stderr -----
    error: One rehearsal at a time

    hint: Name one deployment, or add `--due` for all whose `drill-days` are over
    ");
    assert_snapshot!(machine.fedi("backup drill --due nots"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `nots`

    hint: Did you mean `notes`?
    ");
    assert_snapshot!(machine.fedi("backup drill"), @"
    exit code: 2
    ----- stderr -----
    error: the following required arguments were not provided:
      <DEPLOYMENTS>...

    Usage: fedi backup drill <DEPLOYMENTS>...

    For more information, try '--help'.
    ");
}

#[test]
fn no_days_at_all() {
    assert_snapshot!(machine("[backup]\ndrill-days = 0\n").fedi("backup drill --due"), @"
    exit code: 2
    ----- stderr -----
    error: The inventory has 1 problem
      hosts/here/deployments/notes.toml:4:1: `backup.drill-days` must be between 1 and 65535
    ");
}
