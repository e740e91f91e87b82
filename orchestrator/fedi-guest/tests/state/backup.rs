//! The guest's own backups, as its timer makes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fedi_guest::agent::{self, BackupOutcome};
use fedi_guest::protocol::{
    BackupConfig, BackupConfigure, BackupStatusRequest, ErrorKind, LeaseRevoke, RepositoryAccess, SecretValue,
};
use fedi_guest::{Cancel, GuestError};
use fedi_model::state::Consistency::{self, DumpThenFiles, Quiesced};

use crate::machine::{Machine, PASSWORD, captures, repository, toy};
use crate::seen::snapshots;

fn configure(machine: &Machine, repository: &RepositoryAccess, consistency: Consistency) {
    let capture = captures(repository, consistency, "unused");
    let config = BackupConfig {
        deployment: capture.deployment,
        repository: repository.clone(),
        consistency,
        schedule: Some("daily".to_owned()),
        fingerprint_key: capture.fingerprint_key,
        sealed_secrets: capture.sealed_secrets,
    };
    let status = machine.call(BackupConfigure { app: toy(), config: Some(config) }).unwrap();
    assert!(status.configured);
}

fn back_up(machine: &Machine) -> Result<BackupOutcome, GuestError> {
    agent::back_up(&machine.guest(), &toy(), &Cancel::default(), &mut |_| {})
}

fn metrics(machine: &Machine) -> String {
    fs::read_to_string(machine.path("/var/lib/fedi/metrics/fedi-backup.prom")).unwrap()
}

#[test]
fn made_noted_and_measured() {
    let Some(machine) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    assert_eq!(back_up(&machine).unwrap_err().kind(), ErrorKind::Missing);
    configure(&machine, &repository, DumpThenFiles);
    let file = machine.path("/var/lib/fedi/backup/toy.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let BackupOutcome::Stored { snapshot } = back_up(&machine).unwrap() else { panic!("the lease is held") };

    let status = machine.call(BackupStatusRequest { app: toy() }).unwrap();
    let success = status.last_success.unwrap();
    assert_eq!((success.snapshot.as_ref(), status.last_failure), (Some(&snapshot), None));
    let text = metrics(&machine);
    assert!(text.contains("fedi_backup_last_run_success{deployment=\"toy\",app=\"toy\"} 1\n"), "{text}");
    let at = format!("success_timestamp_seconds{{deployment=\"toy\",app=\"toy\"}} {}\n", success.at.as_second());
    assert!(text.contains(&at), "{text}");

    // A failure is told beside the last success, and holds no secret.
    let mut wrong = repository.clone();
    wrong.password = SecretValue::new("another");
    configure(&machine, &wrong, DumpThenFiles);
    assert_eq!(back_up(&machine).unwrap_err().kind(), ErrorKind::Password);
    let status = machine.call(BackupStatusRequest { app: toy() }).unwrap();
    assert_eq!(status.last_success.unwrap().snapshot, Some(snapshot));
    assert!(status.last_failure.unwrap().error.unwrap().contains("password"));
    let text = metrics(&machine);
    assert!(text.contains("fedi_backup_last_run_success{deployment=\"toy\",app=\"toy\"} 0\n"), "{text}");
    for path in ["/var/lib/fedi/backup/toy.status.json", "/var/lib/fedi/metrics/fedi-backup.prom"] {
        let text = fs::read_to_string(machine.path(path)).unwrap();
        assert!(!text.contains("another") && !text.contains(PASSWORD), "{text}");
    }

    let gone = machine.call(BackupConfigure { app: toy(), config: None }).unwrap();
    assert!(!gone.configured && !file.exists());
    assert_eq!(metrics(&machine), "");
}

#[test]
fn a_quiesced_backup_pauses_and_always_resumes() {
    let Some(machine) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    configure(&machine, &repository, Quiesced);
    back_up(&machine).unwrap();
    let jobs = ["start toy-drain.service", "stop fedi-toy.target", "start fedi-toy.target"];
    assert_eq!(machine.jobs(), jobs);
    fs::remove_file(machine.path("/var/lib/toy/picture")).unwrap();
    assert_eq!(back_up(&machine).unwrap_err().kind(), ErrorKind::Floor);
    assert_eq!(machine.unit("toy.service"), "active");

    // Killed between pausing and resuming: what runs after the service sets it right.
    machine.stop();
    machine.write("/var/lib/fedi/backup/toy.paused", b"");
    agent::after_backup(&machine.guest(), &toy()).unwrap();
    assert_eq!(machine.unit("toy.service"), "active");
    // What somebody else stopped stays so.
    machine.stop();
    agent::after_backup(&machine.guest(), &toy()).unwrap();
    assert_eq!(machine.unit("toy.service"), "inactive");
}

/// Whatever fails after the application was paused: it runs again, visitors see it again, and
/// the failure is told and measured.
#[test]
fn a_quiesced_backup_that_fails_is_told_and_the_application_runs() {
    let Some(machine) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    configure(&machine, &repository, Quiesced);
    let BackupOutcome::Stored { snapshot } = back_up(&machine).unwrap() else { panic!("the lease is held") };
    let faults: [(&str, &str, ErrorKind); 3] = [
        ("pg_dump", "#!/bin/sh\nkill -9 $$\n", ErrorKind::ToolFailed),
        ("restic", "#!/bin/sh\necho 'no space left on device' >&2; exit 1\n", ErrorKind::DiskFull),
        ("restic", "#!/bin/sh\nkill -9 $$\n", ErrorKind::ToolFailed),
    ];
    for (tool, script, kind) in faults {
        let before = (machine.seen(), snapshots(&repository));
        machine.tool(tool, script);
        let error = back_up(&machine).unwrap_err().reply();
        machine.no_tool(tool);
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!((machine.seen(), snapshots(&repository)), before, "{error}");
        assert_eq!(machine.jobs().last().map(String::as_str), Some("start fedi-toy.target"));
        let status = machine.call(BackupStatusRequest { app: toy() }).unwrap();
        assert_eq!(status.last_success.unwrap().snapshot.as_ref(), Some(&snapshot));
        let failed = status.last_failure.unwrap();
        assert!(failed.snapshot.is_none() && failed.error.unwrap().contains(&error.message), "{error}");
        let text = metrics(&machine);
        assert!(text.contains("fedi_backup_last_run_success{deployment=\"toy\",app=\"toy\"} 0\n"), "{text}");
    }
    // A queue that never drains: it is not stopped, and the backup has failed.
    let (before, jobs) = ((machine.seen(), snapshots(&repository)), machine.jobs().len());
    machine.declare(|app| app["hooks"]["drain"]["timeout"] = "1s".into());
    machine.set("toy-drain.service.hangs", "");
    assert_eq!(back_up(&machine).unwrap_err().kind(), ErrorKind::Timeout);
    fs::remove_file(machine.root().join("units/toy-drain.service.hangs")).unwrap();
    assert_eq!((machine.seen(), snapshots(&repository)), before);
    assert!(!machine.jobs()[jobs..].contains(&"stop fedi-toy.target".to_owned()), "{:?}", machine.jobs());
    let failed = machine.call(BackupStatusRequest { app: toy() }).unwrap().last_failure.unwrap();
    assert!(failed.error.unwrap().contains("toy-drain.service"));
    // The next good one takes the failure away.
    back_up(&machine).unwrap();
    assert_eq!(machine.call(BackupStatusRequest { app: toy() }).unwrap().last_failure, None);
}

#[test]
fn a_dormant_guest_backs_nothing_up() {
    let Some(machine) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    configure(&machine, &repository, DumpThenFiles);
    machine.call(LeaseRevoke { app: toy(), epoch: 3 }).unwrap();
    assert_eq!(back_up(&machine).unwrap(), BackupOutcome::Dormant);
    let status = machine.call(BackupStatusRequest { app: toy() }).unwrap();
    assert_eq!((status.last_success, status.last_failure), (None, None));
}
