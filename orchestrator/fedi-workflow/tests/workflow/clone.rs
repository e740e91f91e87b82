//! Copies on stand-in guests: what is the first's and what is not, and what is refused.
//! That a copy leaves nothing when it is taken back is in `generic.rs`.

use fedi_engine::Outcome;
use fedi_engine::drivers::SecretKey;
use fedi_model::AppName;
use fedi_model::name::{DeploymentName, RepositoryName, SecretName};
use fedi_model::plan::Plan;
use fedi_testsite::{AppState, GuestFault, SiteBed, StandInSnapshot, Task, TestSite};
use fedi_workflow::WorkflowError;

fn named(text: &str) -> DeploymentName {
    DeploymentName::new(text).unwrap()
}

async fn planned(site: &TestSite) -> Result<Plan, WorkflowError> {
    let desk = &site.wiring.desk;
    let first = desk.declared(&site.wiring.deployment("matrix")).await?;
    let at = desk.pick(&named("matrix"), None).await?;
    Ok(desk.clone_to(&site.wiring.deployment("copy"), first, &at).await?.plan)
}

/// Why there is no plan; nothing is touched.
async fn refused(site: &TestSite) -> String {
    let before = site.snapshot().await;
    let WorkflowError::Refused(refused) = planned(site).await.unwrap_err() else { panic!("no refusal") };
    assert_eq!(site.snapshot().await, before, "nothing is touched");
    refused.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn app(site: &TestSite, guest: &str) -> AppState {
    site.wiring.guests.named(guest).unwrap().apps["matrix"].clone()
}

fn key(deployment: &str, name: &str) -> SecretKey {
    SecretKey {
        deployment: named(deployment),
        app: AppName::new("matrix").unwrap(),
        name: SecretName::new(name).unwrap(),
    }
}

/// Gives the copy the value of the first.
async fn give(site: &TestSite, name: &str) {
    let secrets = &site.wiring.secrets;
    let entry = secrets.entry(&key("matrix", name)).await.unwrap().unwrap();
    let (value, _) = secrets.get(&key("matrix", name)).await.unwrap().unwrap();
    secrets.put(&key("copy", name), entry.class, &entry.generator, &value, 0).await.unwrap();
}

/// Changes the newest snapshot.
async fn alter(site: &TestSite, change: impl FnOnce(&mut StandInSnapshot)) {
    let main = RepositoryName::new("main").unwrap();
    let access = site.wiring.desk.repositories.access(&main, &named("matrix")).await.unwrap();
    let repositories = &site.wiring.guests.repositories;
    repositories
        .change(&access.location, access.password.expose(), |it| change(it.snapshots.last_mut().unwrap()))
        .unwrap();
}

#[tokio::test]
async fn a_copy_has_the_state_and_an_identity_of_its_own() {
    let bed = SiteBed::new(Task::Clone).await;
    let site = &bed.site;
    let (first, records) = (app(site, "matrix"), site.wiring.zone.sets("example.test"));
    let outcome = site.engine().start(&planned(site).await.unwrap()).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let copy = app(site, "copy");
    for (item, text) in &first.state {
        assert_eq!(copy.state[item], format!("{text}, of a copy"));
    }
    assert!(copy.held && copy.runs_with.is_some(), "it runs: {copy:?}");
    assert_ne!(copy.values["signing-key"], first.values["signing-key"]);
    assert_eq!(copy.values["password-pepper"], first.values["password-pepper"]);
    // The administrator's account is the first's, and so is its password.
    assert_eq!(copy.values["admin-password"], first.values["admin-password"]);
    assert_ne!(copy.values["macaroon"], first.values["macaroon"]);
    assert_eq!(copy.admins, 0, "no account is made");
    assert_eq!(app(site, "matrix"), first, "the first runs on as it was");
    let after = site.wiring.zone.sets("example.test");
    assert!(records.iter().all(|(name, set)| after.get(name) == Some(set)), "its records stay: {after:?}");
    assert!(after.len() > records.len(), "the copy has its own: {after:?}");
    let deployed = site.wiring.desk.deploy(&site.wiring.deployment("copy")).await.unwrap().plan;
    assert!(deployed.is_empty(), "{deployed:#?}");
}

#[tokio::test]
async fn what_cannot_be_made_a_copy_never_runs() {
    let bed = SiteBed::new(Task::Clone).await;
    let site = &bed.site;
    let before = site.snapshot().await;
    site.machines.made_with(Some(GuestFault::RehomeFails));
    let outcome = site.engine().start(&planned(site).await.unwrap()).await.unwrap();
    assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{outcome:?}");
    site.wiring.desk.forget(&named("copy")).await.unwrap();
    assert_eq!(site.snapshot().await, before);
}

#[tokio::test]
async fn a_file_that_lets_the_copy_reach_people_is_refused() {
    let mut bed = SiteBed::new(Task::Clone).await;
    let root = bed.site.wiring.layout.inventory();
    let host = bed.site.wiring.deployment("copy").host.clone();
    fedi_inventory::set_in_deployment(&root, &host, &named("copy"), "settings.smtp", Some(true.into())).unwrap();
    bed.site.reopen();
    let why = refused(&bed.site).await;
    assert!(why.contains("could pass for `matrix`"), "{why}");
}

#[tokio::test]
async fn an_application_without_a_fence_is_refused() {
    let bed = SiteBed::new(Task::Drill).await;
    let mut site = bed.site;
    site.wiring.layout.write_deployment("proxmox1", "copy", "copy.example.test", "");
    site.reopen();
    let why = refused(&site).await;
    assert!(why.contains("would federate as `matrix`"), "{why}");
}

#[tokio::test]
async fn the_signing_key_of_the_first_is_refused() {
    let bed = SiteBed::new(Task::Clone).await;
    give(&bed.site, "signing-key").await;
    let why = refused(&bed.site).await;
    assert!(why.contains("`signing-key` of `copy` is that of `matrix`"), "{why}");
}

#[tokio::test]
async fn a_secret_that_the_state_needs_and_nobody_has_is_refused() {
    let bed = SiteBed::new(Task::Clone).await;
    alter(&bed.site, |snapshot| snapshot.sealed_secrets.clear()).await;
    let why = refused(&bed.site).await;
    assert!(why.contains("`password-pepper`") && why.contains("missing"), "{why}");
    assert!(!why.contains("signing-key"), "the copy has a key of its own: {why}");
}

#[tokio::test]
async fn another_secret_than_the_state_needs_is_refused() {
    let bed = SiteBed::new(Task::Clone).await;
    alter(&bed.site, |snapshot| {
        let fingerprint = &mut snapshot.manifest["secrets"]["password-pepper"]["fingerprint"];
        *fingerprint = serde_json::json!(format!("hmac-sha256:{}", "0".repeat(64)));
    })
    .await;
    let why = refused(&bed.site).await;
    assert!(why.contains("`password-pepper` are not those of the snapshot"), "{why}");
}

#[tokio::test]
async fn a_second_copy_of_that_name_is_refused() {
    let bed = SiteBed::new(Task::Clone).await;
    let outcome = bed.site.engine().start(&planned(&bed.site).await.unwrap()).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    let why = refused(&bed.site).await;
    assert!(why.contains("`copy` is there already"), "{why}");
}

#[tokio::test]
async fn a_copy_that_is_destroyed_leaves_the_first_as_it_is() {
    let bed = SiteBed::new(Task::Clone).await;
    let site = &bed.site;
    let before = site.snapshot().await;
    let outcome = site.engine().start(&planned(site).await.unwrap()).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    assert_eq!(site.destroy("copy").await.unwrap().exit_code(), 0);
    assert_eq!(site.snapshot().await, before);
}
