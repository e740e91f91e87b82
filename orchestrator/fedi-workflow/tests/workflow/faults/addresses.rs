//! Pools of addresses.

use fedi_engine::drivers::DriverErrorKind;
use fedi_testsite::{Setup, TestSite, Wires};
use fedi_workflow::WorkflowError;

use super::{completed, site};

/// A site with one address and two deployments.
async fn small() -> TestSite {
    let deployment = |name: &str| ("proxmox1".to_owned(), name.to_owned(), format!("{name}.example.test"));
    let setup =
        Setup { addresses: 1, deployments: vec![deployment("matrix"), deployment("other")], ..Setup::default() };
    TestSite::with(setup, Wires::default()).await
}

#[tokio::test]
async fn the_pool_is_exhausted() {
    let site = small().await;
    completed(&site.deploy("matrix").await.unwrap());
    let before = site.snapshot().await;
    let Err(WorkflowError::Driver(error)) = site.deploy("other").await else { panic!() };
    assert_eq!(error.kind, DriverErrorKind::Exhausted);
    assert_eq!(error.message, "Failed to reserve an ipv4 address for `other` on host `proxmox1`");
    assert_eq!(error.causes, ["The pool has 1 addresses: 1 are held and 0 rest from their last deployment"]);
    assert!(error.hint.unwrap().contains("Widen a pool or add one under `[[addresses]]`"));
    assert_eq!(site.snapshot().await, before);

    // Its last address rests when it is destroyed, and only it may come back.
    completed(&site.destroy("matrix").await.unwrap());
    let Err(WorkflowError::Driver(error)) = site.deploy("other").await else { panic!() };
    assert!(error.causes[0].contains("0 are held and 1 rest"), "{error:?}");
    assert!(error.hint.unwrap().contains("the next address is free again at"));
    completed(&site.deploy("matrix").await.unwrap());
}

#[tokio::test]
async fn a_preview_holds_nothing() {
    let site = site().await;
    let deployment = site.wiring.deployment("matrix");
    let told = site.wiring.desk.preview(&deployment).await.unwrap();
    assert!(site.snapshot().await.is_empty());
    assert_eq!(site.wiring.store.settings("vm-uuid").await.unwrap(), []);
    let prepared = site.wiring.desk.deploy(&deployment).await.unwrap();
    let lines = |plan: &fedi_model::plan::Plan| plan.steps().map(|step| step.title.clone()).collect::<Vec<_>>();
    assert_eq!(lines(&told.plan), lines(&prepared.plan));
    assert_eq!(site.snapshot().await.len(), 2, "a plan to be carried out holds its addresses");
    site.wiring.desk.give_up(&prepared).await.unwrap();
    assert!(site.snapshot().await.is_empty());
}

/// The process was killed between its plan and its run: a destroy lets go of it.
#[tokio::test]
async fn what_a_plan_held_that_came_to_nothing_is_destroyed() {
    let site = site().await;
    site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    assert_eq!(site.snapshot().await.len(), 2);
    completed(&site.destroy("matrix").await.unwrap());
    assert!(site.snapshot().await.is_empty());
}
