//! The guest image, and the storage that it goes to.

use fedi_engine::drivers::DriverErrorKind;
use fedi_sim::faults::Command;
use fedi_workflow::WorkflowError;

use super::{completed, nothing_is_left, notices, says, site, unwound};

#[tokio::test]
async fn it_is_missing() {
    let site = site().await;
    std::fs::remove_file(site.wiring.layout.image()).unwrap();
    let Err(WorkflowError::Driver(error)) = site.deploy("matrix").await else { panic!() };
    assert_eq!(error.kind, DriverErrorKind::Invalid);
    assert!(error.message.starts_with("Failed to read the guest image"), "{error:?}");
    assert!(error.hint.unwrap().contains("set `image.source` in host.toml"));
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn it_is_not_the_one_that_is_asked_for() {
    let mut site = site().await;
    let file = site.wiring.layout.inventory().join("hosts/proxmox1/host.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let wrong = format!("[image]\nsha256 = \"{}\"", "0".repeat(64));
    std::fs::write(&file, text.replace("[image]", &wrong)).unwrap();
    site.reopen();
    let Err(WorkflowError::Driver(error)) = site.deploy("matrix").await else { panic!() };
    assert_eq!(error.kind, DriverErrorKind::Invalid);
    assert!(error.message.ends_with("is not the one that host `proxmox1` asks for"), "{error:?}");
    assert!(error.causes[0].contains(&site.wiring.layout.image_sha256()), "{error:?}");
    assert!(error.hint.unwrap().ends_with("correct `image.sha256` in hosts/proxmox1/host.toml"));
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn it_changes_between_plan_and_upload() {
    let site = site().await;
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    let mut content = std::fs::read(site.wiring.layout.image()).unwrap();
    content.push(0);
    std::fs::write(site.wiring.layout.image(), content).unwrap();
    let failure = unwound(&site.engine().start(&prepared.plan).await.unwrap());
    assert!(failure.message.starts_with("Failed to upload the image `fedi-guest-"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("changed while it was sent"));
    // Nothing of a wrong content stays under the right name.
    assert_eq!(site.sim.volumes("local"), [""; 0]);
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn the_image_storage_is_full() {
    let site = site().await;
    site.sim.control(Command::LeaveSpace { storage: "local".to_owned(), bytes: 1000 }).await;
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    assert!(failure.message.starts_with("Failed to upload the image `fedi-guest-"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("Make room on `proxmox1`"));
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn the_storage_is_full_before_the_import() {
    let site = site().await;
    site.sim.control(Command::LeaveSpace { storage: "local-lvm".to_owned(), bytes: 1000 }).await;
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    let message = "Failed to create VM `matrix` on host `proxmox1`";
    says(&failure, message, "", "Make room on `proxmox1`, or name another storage in host.toml");
    nothing_is_left(&site).await;
    // Proxmox has cleaned up: nothing is said to be half-made.
    assert_eq!(notices(&site), [""; 0]);
    // With room it goes.
    site.sim.control(Command::LeaveSpace { storage: "local-lvm".to_owned(), bytes: 1 << 40 }).await;
    completed(&site.deploy("matrix").await.unwrap());
}

#[tokio::test]
async fn the_storage_becomes_full_during_the_import() {
    let site = site().await;
    site.sim.control(Command::ImportDelay { milliseconds: 10_000 }).await;
    let full = async {
        while !site.sim.tasks().iter().any(|task| task.upid.contains(":qmcreate:")) {
            tokio::task::yield_now().await;
        }
        site.sim.control(Command::LeaveSpace { storage: "local-lvm".to_owned(), bytes: 0 }).await;
    };
    let (outcome, ()) = tokio::join!(site.deploy("matrix"), full);
    let failure = unwound(&outcome.unwrap());
    says(&failure, "Failed to create VM `matrix` on host `proxmox1`", "", "Make room on `proxmox1`");
    nothing_is_left(&site).await;
    assert_eq!(notices(&site), [""; 0]);
}
