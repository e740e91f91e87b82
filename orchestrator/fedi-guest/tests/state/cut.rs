//! Operations that are cut off: hung up on while a tool is at work, and called again.

use fedi_guest::protocol::{ErrorKind, Event};
use fedi_model::state::Consistency::DumpThenFiles;

use crate::machine::{Machine, captures, repository, restores, until};
use crate::talk::Talk;

/// A program that says that it is there and never ends, for these arguments; otherwise
/// the real one.
fn stuck(machine: &Machine, name: &str, real: &str, on: &str) {
    let script = format!(
        "#!/bin/sh\nfor word in \"$@\"; do\n  if [ \"$word\" = {on} ]; then\n    echo $$ >{}/stuck\n    exec sleep 1000\n  \
         fi\ndone\nexec {real} \"$@\"\n",
        machine.root().display()
    );
    machine.tool(name, &script);
    std::fs::write(machine.root().join("stuck"), "").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(machine.root().join("stuck"), open).unwrap();
}

fn is_stuck(machine: &Machine) -> bool {
    std::fs::read_to_string(machine.root().join("stuck")).is_ok_and(|text| text.ends_with('\n'))
}

/// Whether the program that was stuck is still there.
fn lives(machine: &Machine) -> bool {
    let pid = std::fs::read_to_string(machine.root().join("stuck")).unwrap();
    std::path::Path::new("/proc").join(pid.trim()).exists()
}

#[test]
fn a_capture_that_is_hung_up_on_leaves_nothing() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    stuck(&source, "restic", "/usr/bin/restic", "backup");
    let mut talk = Talk::ask(&source, captures(&repository, DumpThenFiles, "one"));
    until("restic", || is_stuck(&source));
    // The folder shows in the stage to restic, and to nobody else.
    let shows = |process: &str| {
        let table = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
        table.contains(&source.path("/var/lib/fedi/stage/toy/items/media/tree").display().to_string())
    };
    let restic = std::fs::read_to_string(source.root().join("stuck")).unwrap();
    assert!(shows(restic.trim()) && !shows("self"));
    talk.hang_up();
    let (events, answer) = talk.answer();
    assert_eq!(answer.unwrap_err().kind, ErrorKind::Cancelled);
    assert!(events.iter().any(|event| matches!(event, Event::Progress { .. })), "{events:?}");
    assert!(source.has_no_stage() && !lives(&source));
    assert_eq!(source.unit("toy.service"), "active");

    source.no_tool("restic");
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert!(captured.new_bytes > 0, "the first try stored nothing");
}

#[test]
fn a_restore_that_is_hung_up_on_goes_on() {
    let Some(source) = Machine::with_application() else { return };
    let (folder, repository) = repository();
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    let target = Machine::dormant("1.5").unwrap();
    stuck(&target, "pg_restore", "/nonexistent", "--exit-on-error");
    let mut talk = Talk::ask(&target, restores(&repository, &captured));
    until("pg_restore", || is_stuck(&target));
    talk.hang_up();
    assert_eq!(talk.answer().1.unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(target.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'toy'"), "0");

    target.no_tool("pg_restore");
    // What was fetched is not fetched again: the repository is not even asked.
    folder.close().unwrap();
    target.call(restores(&repository, &captured)).unwrap();
    assert_eq!(target.sql("toy", "SELECT count(*) FROM notes"), "1000");
    assert!(target.has_no_stage());
}

#[test]
fn one_operation_at_a_time() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    stuck(&source, "restic", "/usr/bin/restic", "backup");
    let mut first = Talk::ask(&source, captures(&repository, DumpThenFiles, "one"));
    until("restic", || is_stuck(&source));
    let second = Talk::ask(&source, captures(&repository, DumpThenFiles, "two"));
    source.no_tool("restic");
    first.hang_up();
    assert_eq!(first.answer().1.unwrap_err().kind, ErrorKind::Cancelled);
    let (events, answer) = second.answer();
    let waited = events.iter().any(|event| matches!(event, Event::Output { line } if line.contains("waiting")));
    assert!(waited, "{events:?}");
    assert!(answer.unwrap()["snapshot"].is_string());
}
