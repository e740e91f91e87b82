//! What is refused before anything is touched, and what comes back when a restore fails.

use fedi_engine::Outcome;
use fedi_engine::drivers::DriverErrorKind;
use fedi_model::name::DeploymentName;
use fedi_model::plan::Workflow;
use fedi_model::run::RunPhase;
use fedi_testsite::{GuestFault, SiteBed, StandInSnapshot, Task, TestSite};
use fedi_workflow::WorkflowError;

fn matrix() -> DeploymentName {
    DeploymentName::new("matrix").unwrap()
}

/// Changes the newest snapshot.
async fn alter(site: &TestSite, change: impl FnOnce(&mut StandInSnapshot)) {
    let main = fedi_model::RepositoryName::new("main").unwrap();
    let access = site.wiring.desk.repositories.access(&main, &matrix()).await.unwrap();
    let repositories = &site.wiring.guests.repositories;
    repositories
        .change(&access.location, access.password.expose(), |it| change(it.snapshots.last_mut().unwrap()))
        .unwrap();
}

/// Why there is no plan for a restore; nothing is touched.
async fn refused(site: &TestSite) -> String {
    let before = site.snapshot().await;
    let deployment = site.wiring.deployment("matrix");
    let desk = &site.wiring.desk;
    let at = desk.pick(&deployment.name, None).await.unwrap();
    let error = desk.restore(&deployment, &at).await.unwrap_err();
    assert_eq!(site.snapshot().await, before, "nothing is touched");
    match error {
        WorkflowError::Refused(refused) => {
            refused.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        WorkflowError::Driver(error) => format!("{}: {}", error.message, error.causes.join("; ")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_identity_secret_is_refused() {
    let bed = SiteBed::new(Task::Restore).await;
    alter(&bed.site, |snapshot| snapshot.sealed_secrets.clear()).await;
    let why = refused(&bed.site).await;
    assert!(why.contains("identity secrets are missing"), "{why}");
}

#[tokio::test]
async fn another_identity_secret_is_refused() {
    let bed = SiteBed::new(Task::Restore).await;
    alter(&bed.site, |snapshot| {
        let fingerprint = &mut snapshot.manifest["secrets"]["signing-key"]["fingerprint"];
        *fingerprint = serde_json::json!(format!("hmac-sha256:{}", "0".repeat(64)));
    })
    .await;
    let why = refused(&bed.site).await;
    assert!(why.contains("`signing-key` are not those of the snapshot"), "{why}");
}

#[tokio::test]
async fn a_snapshot_of_a_newer_fedi_is_refused() {
    let bed = SiteBed::new(Task::Restore).await;
    alter(&bed.site, |snapshot| snapshot.manifest["schema"] = serde_json::json!(2)).await;
    let why = refused(&bed.site).await;
    assert!(why.contains("The snapshot has version 2; this fedi reads version 1"), "{why}");
}

#[tokio::test]
async fn an_application_older_than_the_snapshot_is_refused() {
    let bed = SiteBed::new(Task::RestoreInPlace).await;
    alter(&bed.site, |snapshot| snapshot.manifest["appVersion"] = serde_json::json!("9.0")).await;
    let why = refused(&bed.site).await;
    assert!(why.contains("older than the snapshot's 9.0"), "{why}");
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_on_the_disk_is_refused() {
    let bed = SiteBed::new(Task::Restore).await;
    alter(&bed.site, |snapshot| {
        snapshot.manifest["items"]["media"]["directory"]["bytes"] = serde_json::json!(11_u64 << 30);
    })
    .await;
    let why = refused(&bed.site).await;
    assert!(why.contains("20 GiB is too small"), "{why}");
}

#[tokio::test]
async fn a_password_that_only_one_key_reads_is_refused() {
    let mut bed = SiteBed::new(Task::Rotate).await;
    bed.site.wiring.layout.write_fedi(&[], "");
    bed.site.reopen();
    let error = bed.site.wiring.desk.backup(&matrix(), None).await.unwrap_err();
    let WorkflowError::Refused(refused) = error else { panic!("{error:?}") };
    assert!(refused.refusals[0].to_string().contains("one key only"), "{refused:?}");
    assert!(refused.refusals[0].hint().unwrap().contains("secrets.recipients"));
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() {
    let bed = SiteBed::new(Task::Restore).await;
    let secret = fedi_model::resource::Secret::password_of(&fedi_model::RepositoryName::new("main").unwrap());
    let key = fedi_engine::drivers::SecretKey {
        deployment: secret.deployment.clone(),
        app: secret.app.clone(),
        name: secret.name.clone(),
    };
    let other = fedi_engine::drivers::SecretValue::new(b"another".to_vec());
    bed.site.wiring.secrets.put(&key, secret.class, &secret.generator, &other, 1).await.unwrap();
    let error = bed.site.wiring.desk.pick(&matrix(), None).await.unwrap_err();
    let WorkflowError::Driver(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind, DriverErrorKind::Denied);
    assert!(error.message.contains("password"), "{error:?}");
}

#[tokio::test]
async fn what_was_there_comes_back_when_a_restore_fails() {
    let bed = SiteBed::new(Task::RestoreInPlace).await;
    let site = &bed.site;
    let deployment = site.wiring.deployment("matrix");
    let desk = &site.wiring.desk;
    let at = desk.pick(&deployment.name, None).await.unwrap();
    let prepared = desk.restore(&deployment, &at).await.unwrap();
    desk.begin_restore(&prepared).await.unwrap();
    // The snapshot turns out to be another than was said of it.
    alter(site, |snapshot| snapshot.manifest["appVersion"] = serde_json::json!("9.0")).await;
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{outcome:?}");
    let guest = site.wiring.guests.named("matrix").unwrap();
    let app = &guest.apps["matrix"];
    assert_eq!(app.state["db"], "written since");
    assert!(app.held && app.runs_with.is_some(), "it runs again: {app:?}");
    // What happened leaves nothing for a deploy to do.
    let plan = desk.deploy(&deployment).await.unwrap().plan;
    assert!(plan.is_empty(), "{plan:#?}");
}

#[tokio::test]
async fn a_failed_capture_leaves_the_application_running() {
    let bed = SiteBed::new(Task::BackupQuiesced).await;
    let site = &bed.site;
    site.wiring.guests.set_fault("matrix", Some(GuestFault::CaptureFails));
    let prepared = site.wiring.desk.backup(&matrix(), Some(fedi_model::state::Consistency::Quiesced)).await.unwrap();
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{outcome:?}");
    assert!(site.wiring.guests.named("matrix").unwrap().apps["matrix"].runs_with.is_some(), "it runs again");
    let history = site.wiring.desk.backup_history(&matrix()).await.unwrap();
    assert!(history.failed.unwrap().why.contains("pg_dump"), "a failed dump is a failed backup");
    assert!(history.last.is_some(), "the one before is remembered");
}

#[tokio::test]
async fn a_capture_that_is_called_off_has_not_failed() {
    let bed = SiteBed::new(Task::BackupQuiesced).await;
    let site = &bed.site;
    let desk = &site.wiring.desk;
    let before = desk.backup_history(&matrix()).await.unwrap();
    let prepared = desk.backup(&matrix(), None).await.unwrap();
    let engine = site.engine();
    engine.interrupt().request();
    let Outcome::Paused { run, .. } = engine.start(&prepared.plan).await.unwrap() else { panic!("it went on") };
    site.engine().undo(run).await.unwrap();
    assert_eq!(desk.backup_history(&matrix()).await.unwrap(), before);
}

#[tokio::test]
async fn a_rehearsal_that_fails_is_cleared_away_and_remembered() {
    let bed = SiteBed::new(Task::Drill).await;
    let site = &bed.site;
    let before = site.snapshot().await;
    site.machines.made_with(Some(GuestFault::RestoreDiffers));
    let deployment = site.wiring.deployment("matrix");
    let desk = &site.wiring.desk;
    let at = desk.pick(&deployment.name, None).await.unwrap();
    let prepared = desk.drill(&deployment, &at).await.unwrap();
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{outcome:?}");
    desk.forget(&prepared.plan.deployment).await.unwrap();
    assert_eq!(site.snapshot().await, before);
    let history = desk.backup_history(&matrix()).await.unwrap();
    assert!(history.proved.is_none());
    assert!(history.drill_failed.unwrap().why.contains("not what was captured"));
}

#[tokio::test]
async fn a_proof_is_remembered_and_marks_the_snapshot() {
    let bed = SiteBed::new(Task::Drill).await;
    let site = &bed.site;
    let deployment = site.wiring.deployment("matrix");
    let desk = &site.wiring.desk;
    let at = desk.pick(&deployment.name, None).await.unwrap();
    let prepared = desk.drill(&deployment, &at).await.unwrap();
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    let history = desk.backup_history(&matrix()).await.unwrap();
    let (_, stored) = desk.snapshots(&matrix()).await.unwrap();
    assert_eq!(history.proved.unwrap().snapshot, stored.last().unwrap().id);
    assert!(stored.last().unwrap().is_proved());
    let runs = site.wiring.store.runs().await.unwrap();
    assert!(runs.iter().any(|run| run.workflow == Workflow::Drill && run.phase == RunPhase::Completed));
}
