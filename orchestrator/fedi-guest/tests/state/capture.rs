//! There and back again, and what refuses to go.

use std::fs;

use fedi_guest::protocol::{ErrorKind, LeaseRevoke, SecretValue, StatePlaces, StateVerify};
use fedi_model::state::Consistency::{DumpThenFiles, Quiesced};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::machine::{Machine, captures, repository, restores, toy};

#[test]
fn there_and_back_again() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(captured.manifest["epoch"], 3);
    assert_eq!(captured.manifest["consistency"], "dump-then-files");
    assert_eq!(captured.manifest["items"]["media"]["directory"]["files"], 1, "{}", captured.manifest);
    let fingerprint = captured.manifest["secrets"]["signing-key"]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("hmac-sha256:"));
    assert!(captured.new_bytes > 0 && source.has_no_stage());
    assert_eq!(source.jobs(), Vec::<String>::new(), "nothing was stopped");
    // The same run does not make it twice.
    let again = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(again, fedi_guest::protocol::StateCaptured { new_bytes: 0, ..captured.clone() });

    let target = Machine::dormant("1.5").unwrap();
    // What a system makes beforehand is no state.
    fs::create_dir_all(target.path("/var/lib/toy/cache")).unwrap();
    let places = target.call(StatePlaces { app: toy() }).unwrap().places;
    assert!(places.iter().all(|place| place.holds.is_none()), "{places:?}");
    let restored = target.call(restores(&repository, &captured)).unwrap();
    assert_eq!(restored.items.iter().map(|item| item.item.as_str()).collect::<Vec<_>>(), ["media", "db"]);
    assert!(restored.items.iter().all(|item| !item.checks.is_empty()), "{restored:?}");
    assert_eq!(target.sql("toy", "SELECT count(*), sum(n) FROM notes"), "1000|500500");
    assert_eq!(fs::read(target.path("/var/lib/toy/picture")).unwrap(), b"a picture");
    assert!(!target.path("/var/lib/toy/cache/thumbnail").exists());
    assert!(target.has_no_stage());
    // A second call finds it done; a comparison finds what was changed since.
    assert_eq!(target.call(restores(&repository, &captured)).unwrap(), restored);
    let verify = StateVerify { app: toy(), repository, snapshot: captured.snapshot };
    assert_eq!(target.call(verify.clone()).unwrap(), restored);
    target.sql("toy", "DELETE FROM notes WHERE n = 1");
    assert_eq!(target.refuses(verify).0, ErrorKind::Differs);
    assert!(target.has_no_stage());
}

#[test]
fn what_a_capture_refuses() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let (kind, message) = source.refuses(captures(&repository, Quiesced, "one"));
    assert_eq!(kind, ErrorKind::Running);
    assert!(message.contains("`toy.service`"), "{message}");

    source.call(captures(&repository, DumpThenFiles, "two")).unwrap();
    let mut wrong = repository.clone();
    wrong.password = SecretValue::new("another");
    let (kind, message) = source.refuses(captures(&wrong, DumpThenFiles, "three"));
    assert_eq!(kind, ErrorKind::Password, "{message}");
    assert!(!message.contains("another"), "{message}");

    fs::remove_file(source.path("/var/lib/fedi/secrets/toy/signing-key")).unwrap();
    let (kind, message) = source.refuses(captures(&repository, DumpThenFiles, "four"));
    assert_eq!(kind, ErrorKind::Missing);
    assert!(message.contains("`signing-key`"), "{message}");

    source.write("/var/lib/fedi/secrets/toy/signing-key", b"seed");
    fs::remove_file(source.path("/var/lib/toy/picture")).unwrap();
    assert_eq!(source.refuses(captures(&repository, DumpThenFiles, "five")).0, ErrorKind::Floor);
    assert!(source.has_no_stage() && source.jobs().is_empty());
}

#[test]
fn what_a_restore_refuses() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    let wants = restores(&repository, &captured);

    let older = Machine::dormant("1.4").unwrap();
    let (kind, message) = older.refuses(wants.clone());
    assert_eq!(kind, ErrorKind::Incompatible);
    assert!(message.contains("1.4") && message.contains("1.5"), "{message}");

    let target = Machine::dormant("1.5").unwrap();
    target.grant(1);
    assert_eq!(target.refuses(wants.clone()).0, ErrorKind::Held);
    target.call(LeaseRevoke { app: toy(), epoch: 1 }).unwrap();
    target.set("toy.service", "active");
    assert_eq!(target.refuses(wants.clone()).0, ErrorKind::Running);
    target.set("toy.service", "inactive");

    target.write("/var/lib/toy/mine", b"somebody's");
    let (kind, message) = target.refuses(wants.clone());
    assert_eq!(kind, ErrorKind::NotEmpty);
    assert!(message.contains("/var/lib/toy") && message.contains("1 files"), "{message}");
    fs::remove_file(target.path("/var/lib/toy/mine")).unwrap();

    let mut wrong = wants.clone();
    wrong.repository.password = SecretValue::new("another");
    assert_eq!(target.refuses(wrong).0, ErrorKind::Password);
    let mut unknown = wants.clone();
    unknown.snapshot = "0".repeat(64);
    assert_eq!(target.refuses(unknown).0, ErrorKind::Missing);

    assert_eq!(target.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%toy%'"), "0");
    target.call(wants).unwrap();
}

#[test]
fn a_full_disk_is_told_before_anything_is_written() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let stage = source.path("/var/lib/fedi/stage");
    fs::create_dir_all(&stage).unwrap();
    mount("tmpfs", &stage, "tmpfs", MountFlags::empty(), Some(c"size=1m,mode=0711")).unwrap();
    let (kind, message) = source.refuses(captures(&repository, DumpThenFiles, "one"));
    let left = source.has_no_stage();
    unmount(&stage, UnmountFlags::DETACH).unwrap();
    assert_eq!(kind, ErrorKind::DiskFull);
    assert!(message.contains("MiB are free") && left, "{message}");
    source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
}

/// Killed after the data was stored and before it was said to be whole: a second try does
/// not take it for good.
#[test]
fn what_was_not_said_to_be_whole_is_captured_again() {
    let Some(source) = Machine::with_application() else { return };
    let (folder, repository) = repository();
    let script = "#!/bin/sh\nfor word in \"$@\"; do\n  case $word in marks:*) exit 1 ;; esac\ndone\n\
                  exec /usr/bin/restic \"$@\"\n";
    source.tool("restic", script);
    assert_eq!(source.refuses(captures(&repository, DumpThenFiles, "one")).0, ErrorKind::ToolFailed);
    let stored = || fs::read_dir(folder.path().join("repository/snapshots")).unwrap().count();
    assert_eq!(stored(), 1, "the data is there");
    source.no_tool("restic");
    source.sql("toy", "DELETE FROM notes WHERE n > 500");
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(stored(), 3, "both, and the mark of the second");
    let target = Machine::dormant("1.5").unwrap();
    target.call(restores(&repository, &captured)).unwrap();
    assert_eq!(target.sql("toy", "SELECT count(*) FROM notes"), "500");
}
