//! Backups that a guest makes by itself: what changes of them in a file is a change of the
//! next deploy, in the guest's system and in what its agent was given.

use std::fs;
use std::path::Path;

use fedi_model::name::DeploymentName;
use fedi_model::resource::{Resource, ResourceId};
use fedi_model::state::Consistency;
use fedi_testsite::{BackupSettings, GuestFault, TestSite};

const SCHEDULE: &str = "[backup]\nschedule = \"*-*-* 03:30\"\n";

/// Writes the deployment's file, as an operator does between two commands.
fn write(site: &mut TestSite, more: &str) {
    site.wiring.layout.write_deployment("proxmox1", "matrix", "matrix.example.test", more);
    site.reopen();
}

/// What `fedi plan` shows.
async fn shown(site: &TestSite) -> String {
    let prepared = site.wiring.desk.preview(&site.wiring.deployment("matrix")).await.unwrap();
    fedi_plan::render::plan(&prepared.plan)
}

/// Deploys; afterwards there is nothing left to do.
async fn deploy(site: &TestSite) {
    let outcome = site.deploy("matrix").await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    let again = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap().plan;
    assert!(again.is_empty(), "{}", fedi_plan::render::plan(&again));
}

/// What the agent was given.
fn given(site: &TestSite) -> Option<BackupSettings> {
    site.wiring.guests.named("matrix").unwrap().apps["matrix"].backup.clone()
}

/// The timer of the system that the guest runs; empty without one.
async fn timer(site: &TestSite) -> String {
    let id = ResourceId::system(&DeploymentName::new("matrix").unwrap());
    let Resource::System(system) = site.wiring.store.ledger_entry(&id).await.unwrap().unwrap().resource else {
        panic!("no system")
    };
    assert_eq!(site.wiring.guests.named("matrix").unwrap().system, Some(system.toplevel));
    fs::read_to_string(Path::new(&system.source).join("units/fedi-backup-matrix.timer")).unwrap()
}

#[tokio::test]
async fn a_schedule_is_set_changed_and_taken_away_by_deploys() {
    let mut site = TestSite::new().await;
    deploy(&site).await;
    assert_eq!((given(&site), timer(&site).await), (None, String::new()));

    write(&mut site, SCHEDULE);
    let plan = shown(&site).await;
    assert!(plan.contains("+ backups of matrix by its guest: *-*-* 03:30, into main\n"), "{plan}");
    assert_eq!(given(&site), None, "to show a plan changes nothing");
    deploy(&site).await;
    let wanted = BackupSettings {
        location: "/stand-in/main".to_owned(),
        schedule: Some("*-*-* 03:30".to_owned()),
        consistency: Consistency::DumpThenFiles,
    };
    assert_eq!(given(&site), Some(wanted.clone()));
    assert!(timer(&site).await.contains("OnCalendar=*-*-* 03:30\n"));

    write(&mut site, "[backup]\nschedule = \"hourly\"\nconsistency = \"quiesced\"\n");
    let plan = shown(&site).await;
    assert!(plan.contains("~ backups of matrix by its guest: hourly, into main\n"), "{plan}");
    assert!(plan.contains("schedule: *-*-* 03:30 -> hourly\n"), "{plan}");
    assert!(plan.contains("consistency: dump-then-files -> quiesced\n"), "{plan}");
    deploy(&site).await;
    let (schedule, consistency) = (Some("hourly".to_owned()), Consistency::Quiesced);
    assert_eq!(given(&site), Some(BackupSettings { schedule, consistency, ..wanted }));
    assert!(timer(&site).await.contains("OnCalendar=hourly\n"));

    write(&mut site, "");
    let plan = shown(&site).await;
    assert!(plan.contains("- backups of matrix by its guest: hourly, into main\n"), "{plan}");
    deploy(&site).await;
    assert_eq!((given(&site), timer(&site).await), (None, String::new()));
    let ledger = site.wiring.ledger("matrix").await;
    assert!(!ledger.iter().any(|id| id.contains("backups")), "{ledger:?}");
}

/// Each deployment has its own place in the repository from now on.
fn move_repository(site: &mut TestSite) {
    let recipients = site.wiring.folder.fedi().secrets.recipients.clone();
    site.wiring.layout.write_fedi(&recipients, "per-deployment = true\n");
    site.reopen();
}

/// The same repository of the inventory, elsewhere: the guest is told, although its own
/// file did not change.
#[tokio::test]
async fn a_repository_that_moves_is_a_deploys_change() {
    let mut site = TestSite::new().await;
    write(&mut site, SCHEDULE);
    deploy(&site).await;
    move_repository(&mut site);
    let plan = shown(&site).await;
    assert!(plan.contains("at: /stand-in/main -> /stand-in/main/matrix/\n"), "{plan}");
    deploy(&site).await;
    assert_eq!(given(&site).unwrap().location, "/stand-in/main/matrix/");
}

/// The guest cannot take the new settings: the run waits, and goes on where it was.
#[tokio::test]
async fn a_schedule_that_does_not_get_onto_the_guest() {
    let mut site = TestSite::new().await;
    write(&mut site, SCHEDULE);
    deploy(&site).await;
    // Of the system nothing changes, so that nothing but the settings is sent.
    move_repository(&mut site);
    site.wiring.guests.set_fault("matrix", Some(GuestFault::DiskFull));
    let before = given(&site);
    let outcome = site.deploy("matrix").await.unwrap();
    assert_eq!(outcome.exit_code(), 1, "{outcome:?}");
    assert!(outcome.failure().unwrap().causes.iter().any(|it| it.contains("No space left")), "{outcome:?}");
    assert_eq!(given(&site), before);
    site.wiring.guests.set_fault("matrix", None);
    deploy(&site).await;
    assert_eq!(given(&site).unwrap().location, "/stand-in/main/matrix/");
}
