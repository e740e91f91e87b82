//! The journal: folders open to others, damaged and newer files, another fedi at work.

use insta::assert_snapshot;
use rusqlite::Connection;

use crate::support::Machine;

const NOWHERE: &str = "https://127.0.0.1:1";

#[test]
fn a_folder_that_others_can_write() {
    let machine = Machine::with_inventory();
    machine.fedi("run list");
    machine.chmod("state", 0o777);
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 2
    ----- stderr -----
    error: The folder `[STATE]` of the state database can be written by others

    hint: Run `chmod 700 [STATE]`
    ");
}

#[test]
fn a_file_that_is_no_database() {
    let machine = Machine::with_inventory();
    machine.fedi("run list");
    machine.write(
        "state/state.db",
        "this is no database, and longer than a header of one hundred bytes would be, so that it is read as one",
    );
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 2
    ----- stderr -----
    error: The state database `[STATE]/state.db` is damaged: file is not a database

    hint: Nothing was changed. Put a good copy of `[STATE]/state.db` in its place (keep the damaged one, with its `-wal` file); guests go on running without it
    ");
    assert!(machine.read("state/state.db").starts_with("this is no database"), "it is left as it is");
}

#[test]
fn a_database_of_another_program() {
    let machine = Machine::with_inventory();
    machine.fedi("run list");
    std::fs::remove_file(machine.path("state/state.db")).unwrap();
    Connection::open(machine.path("state/state.db")).unwrap().execute_batch("CREATE TABLE recipes (name)").unwrap();
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 2
    ----- stderr -----
    error: `[STATE]/state.db` is a database of another program

    hint: Give fedi a file of its own
    ");
}

#[test]
fn a_journal_of_a_newer_fedi() {
    let machine = Machine::with_deployment(NOWHERE);
    machine.fedi("run list");
    Connection::open(machine.path("state/state.db")).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert_snapshot!(machine.fedi("deploy notes"), @"
    exit code: 2
    ----- stderr -----
    error: The state database `[STATE]/state.db` has version 99; this fedi knows version 1

    hint: Use the newer fedi that wrote it
    ");
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 2
    ----- stderr -----
    error: The state database `[STATE]/state.db` has version 99; this fedi knows version 1

    hint: Use the newer fedi that wrote it
    ");
}

#[test]
fn a_state_folder_that_cannot_be_made() {
    let machine = Machine::with_deployment(NOWHERE);
    std::fs::remove_dir_all(machine.path("state")).unwrap_or_default();
    machine.write("state", "a file");
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to make the file in the state database `[STATE]/state.db`
      Caused by: File exists (os error 17)

    hint: Check that its folder can be written
    ");
}
