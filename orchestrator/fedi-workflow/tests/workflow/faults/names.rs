//! Domains and records.

use fedi_engine::Outcome;
use fedi_inventory::Folder;
use fedi_model::resource::RecordSet;
use fedi_test::workflow::Snapshot;
use fedi_testsite::{TestSite, ZoneFault};

use super::{completed, nothing_is_left, paused, refused, says, site, unwound};

fn a_record(value: &str) -> RecordSet {
    RecordSet { name: "matrix".to_owned(), kind: "A".to_owned(), ttl: 300, values: vec![value.to_owned()] }
}

/// What is wrong with the inventory, with hints.
#[track_caller]
fn problems(site: &TestSite) -> String {
    let layout = &site.wiring.layout;
    Folder::load(&layout.inventory(), layout.environment()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_domain_outside_every_zone() {
    let site = site().await;
    site.wiring.layout.write_deployment("proxmox1", "matrix", "matrix.example.org", "");
    let told = problems(&site);
    assert!(told.contains("`matrix.example.org` lies in no zone of host `proxmox1`"), "{told}");
    assert!(told.contains("example.test"), "{told}");
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn a_domain_that_two_files_have() {
    let site = site().await;
    site.wiring.layout.write_deployment("proxmox1", "other", "matrix.example.test", "");
    let told = problems(&site);
    assert!(told.contains("The domain `matrix.example.test` belongs to deployment `matrix` too"), "{told}");
}

#[tokio::test]
async fn a_domain_that_a_deployment_without_a_file_still_has() {
    let mut site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let before = site.snapshot().await;
    let file = site.wiring.layout.inventory().join("hosts/proxmox1/deployments/matrix.toml");
    std::fs::remove_file(file).unwrap();
    site.wiring.layout.write_deployment("proxmox1", "other", "matrix.example.test", "");
    site.reopen();
    let told = refused(site.deploy("other").await);
    let [(cause, hint)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(cause, "The domain `matrix.example.test` belongs to deployment `matrix`");
    assert!(hint.contains("`fedi destroy matrix`"), "{hint}");
    assert_eq!(site.snapshot().await, before, "no address is held for what is refused");
    // It can be destroyed without its file, and then the domain is free.
    completed(&site.destroy("matrix").await.unwrap());
    nothing_is_left(&site).await;
    completed(&site.deploy("other").await.unwrap());
}

#[tokio::test]
async fn a_record_that_somebody_else_owns() {
    let site = site().await;
    site.wiring.zone.put("example.test", a_record("198.51.100.7"));
    let told = refused(site.deploy("matrix").await);
    let [(cause, hint)] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        cause.contains("has the record `matrix.example.test` A `198.51.100.7`, which fedi did not write"),
        "{cause}"
    );
    assert!(hint.contains("Delete it where the zone is kept"), "{hint}");
    let left: Vec<String> = site.snapshot().await.into_keys().collect();
    assert_eq!(left, ["record matrix A in example.test"]);
}

#[tokio::test]
async fn a_record_that_appears_after_the_plan() {
    let site = site().await;
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    site.wiring.zone.put("example.test", a_record("198.51.100.7"));
    let before = site.wiring.zone.sets("example.test");
    let failure = unwound(&site.engine().start(&prepared.plan).await.unwrap());
    says(&failure, "Failed to write records into the DNS zone `example.test`", "fedi did not write it", "");
    site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
    // Theirs is as it was, and ours is gone whole.
    assert_eq!(site.wiring.zone.sets("example.test"), before);
    assert_eq!(site.snapshot().await.len(), 1);
}

/// What an update adds beside a record that stays as it is goes again when the update is
/// taken back, and what it drops comes back.
#[tokio::test]
async fn an_update_of_records_is_taken_back_whole() {
    let mut site = site().await;
    let layout = site.wiring.layout.clone();
    layout.write_deployment("proxmox1", "matrix", "matrix.example.test", "[dns]\ncaa = true\n");
    site.reopen();
    completed(&site.deploy("matrix").await.unwrap());
    let with_caa = site.snapshot().await;
    assert!(with_caa.contains_key("record matrix CAA in example.test"));

    for (file, what) in [("", "drops a record"), ("[dns]\ncaa = true\n", "adds a record")] {
        // First to the other form, with success, so that the update goes from there.
        let other = if file.is_empty() { "[dns]\ncaa = true\n" } else { "" };
        layout.write_deployment("proxmox1", "matrix", "matrix.example.test", other);
        site.reopen();
        let outcome = site.deploy("matrix").await.unwrap();
        assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
        let before: Snapshot = site.snapshot().await;

        layout.write_deployment("proxmox1", "matrix", "matrix.example.test", file);
        site.reopen();
        let plan = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap().plan;
        let world = std::sync::Arc::new(fedi_test::FaultyWorld::new(site.wiring.world()));
        let wait = "await-records/matrix/example.test";
        let (moment, kind) = (fedi_test::Moment::Before, fedi_engine::drivers::DriverErrorKind::Failed);
        world.fail(fedi_test::Verb::Run, wait, usize::MAX, moment, kind);
        let (clock, told) = (std::sync::Arc::new(site.clock.clone()), std::sync::Arc::new(site.recorder.clone()));
        let engine = fedi_engine::Engine::new(site.wiring.store.clone(), world, clock, told);
        let outcome = engine.start(&plan).await.unwrap();
        assert!(matches!(outcome, Outcome::Unwound { .. }), "{outcome:?}");
        assert_eq!(site.snapshot().await, before, "{what}");
    }
}

#[tokio::test]
async fn the_provider_is_down() {
    let site = site().await;
    site.wiring.zone.set_fault("example.test", Some(ZoneFault::Down));
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    says(&failure, "Failed to write records into the DNS zone `example.test`", "Connection refused", "");
    nothing_is_left(&site).await;
}

/// It went down after it had said what is there: whether anything was written is not
/// known, so it is looked for until it answers again.
#[tokio::test]
async fn the_provider_goes_down_in_between() {
    let site = site().await;
    site.wiring.zone.set_fault("example.test", Some(ZoneFault::DownForWrites));
    let outcome = site.deploy("matrix").await.unwrap();
    let failure = paused(&outcome);
    says(&failure, "Failed to write records into the DNS zone `example.test`", "Connection refused", "");
    site.wiring.zone.set_fault("example.test", None);
    let outcome = site.engine().resume(outcome.run().unwrap()).await.unwrap();
    unwound(&outcome);
    site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn the_provider_writes_and_its_answer_is_lost() {
    let site = site().await;
    site.wiring.zone.set_fault("example.test", Some(ZoneFault::LosesAnswers));
    completed(&site.deploy("matrix").await.unwrap());
}
