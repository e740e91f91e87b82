//! Proxmox, and whoever else makes VMs there.

use fedi_engine::drivers::DriverErrorKind;
use fedi_sim::faults::{Command, Crash, Fault, RequestFault, RequestMatch};
use fedi_testsite::TestSite;
use fedi_workflow::WorkflowError;
use uuid::Uuid;

use super::{completed, nothing_is_left, notices, says, site, unwound};

const CREATE: &str = "Failed to create VM `matrix` on host `proxmox1`";

async fn stranger(site: &TestSite, vmid: u32) {
    let uuid = Some(Uuid::new_v4());
    site.sim.control(Command::ForeignVm { vmid, node: "proxmox1".to_owned(), uuid }).await;
}

#[tokio::test]
async fn a_number_that_is_taken_meanwhile() {
    let site = site().await;
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    stranger(&site, 9000).await;
    stranger(&site, 9001).await;
    completed(&site.engine().start(&prepared.plan).await.unwrap());
    assert_eq!(site.sim.vmids(), [9000, 9001, 9002]);
    assert_eq!(site.sim.vm(9002).unwrap().config["name"], "matrix");
    completed(&site.destroy("matrix").await.unwrap());
    assert_eq!(site.sim.vmids(), [9000, 9001]);
}

#[tokio::test]
async fn every_number_is_taken() {
    let setup = fedi_testsite::Setup { vmids: 3, ..fedi_testsite::Setup::default() };
    let site = TestSite::with(setup, fedi_testsite::Wires::default()).await;
    for vmid in 9000..9003 {
        stranger(&site, vmid).await;
    }
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    let message = "Failed to choose a number for VM `matrix` on host `proxmox1`";
    says(&failure, message, "Every number from 9000 to 9002 is taken", "Widen `first-vmid` and `last-vmid`");
    assert_eq!(site.sim.vmids(), [9000, 9001, 9002]);
}

/// Our VM was deleted by hand, and its number given to another.
#[tokio::test]
async fn a_number_that_a_stranger_uses_now() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    replace_by_hand(&site).await;
    // The journal still says 9000; nothing of the stranger's is shown or touched.
    let plan = site.destroy_plan("matrix").await.unwrap();
    let vm = plan.steps().find(|step| step.id.as_str() == "remove/vm/matrix").unwrap();
    assert!(vm.title.ends_with(", already gone"), "{}", vm.title);
    completed(&site.engine().start(&plan).await.unwrap());
    assert_eq!(site.sim.vmids(), [9000]);
    assert_eq!(site.sim.vm(9000).unwrap().config["name"], "foreign");
    assert_eq!(site.wiring.ledger("matrix").await, [""; 0]);
}

/// Our VM was given another name by hand: it is found by its number, and changed where it is.
#[tokio::test]
async fn a_vm_that_somebody_renamed() {
    let mut site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let name = Command::SetOption { vmid: 9000, option: "name".to_owned(), value: Some("chat".to_owned()) };
    site.sim.control(name).await;
    // The next command has seen nothing yet.
    site.reopen();
    let plan = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap().plan;
    assert!(plan.is_empty(), "{plan:#?}");
    let more = "[resources]\nmemory-mib = 4096\n";
    site.wiring.layout.write_deployment("proxmox1", "matrix", "matrix.example.test", more);
    site.reopen();
    completed(&site.deploy("matrix").await.unwrap());
    assert_eq!((site.sim.vmids(), site.sim.vm(9000).unwrap().config["memory"].as_str()), (vec![9000], "4096"));
    completed(&site.destroy("matrix").await.unwrap());
    nothing_is_left(&site).await;
}

/// Our VM was deleted by hand: a deploy says so, and makes another one.
#[tokio::test]
async fn a_vm_that_somebody_deleted() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let before = site.snapshot().await;
    replace_by_hand(&site).await;
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    assert!(
        prepared.plan.notes.iter().any(|note| note.contains("is gone from `proxmox1`")),
        "{:?}",
        prepared.plan.notes
    );
    completed(&site.engine().start(&prepared.plan).await.unwrap());
    assert_eq!(site.sim.vmids(), [9000, 9001]);
    let mut after = site.snapshot().await;
    after.retain(|name, _| !name.contains("foreign"));
    // The same as before, under a lease of its own.
    let lease = |guest: &str| guest.replace("epoch 2", "epoch 1");
    assert_eq!(lease(&after["guest matrix"]), before["guest matrix"]);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

/// The VM is deleted by hand, and a stranger's gets its number.
async fn replace_by_hand(site: &TestSite) {
    let uuid = site.sim.guest_uuid(9000).unwrap();
    fedi_sim::backend::GuestBackend::destroy(site.machines.as_ref(), uuid).await.unwrap();
    stranger(site, 9000).await;
    // Lists that were read a moment ago are older than that.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_vm_that_lost_its_mark_is_not_destroyed() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let option = "description".to_owned();
    site.sim.control(Command::SetOption { vmid: 9000, option, value: Some("mine now".to_owned()) }).await;
    let outcome = site.destroy("matrix").await.unwrap();
    let failure = super::paused(&outcome);
    let message = "VM 9000 on host `proxmox1` cannot be proved to be `matrix`";
    says(&failure, message, "Its description has lost fedi's mark", "remove it by hand");
    assert!(site.sim.vm(9000).unwrap().running);
}

/// The node died under the create: `lock: create` is left, which no token can remove.
#[tokio::test]
async fn a_create_that_was_killed_half_way_on_the_node() {
    let site = site().await;
    let point = "disk-allocated".to_owned();
    site.sim.inject(Fault::Crash(Crash { task: "qmcreate".to_owned(), id: None, point }));
    // It may have been a passing fault, so it is tried again, beside what is left.
    completed(&site.deploy("matrix").await.unwrap());
    assert_eq!(site.sim.vmids(), [9000, 9001]);
    assert_eq!(site.sim.vm(9000).unwrap().config["lock"], "create");
    assert_eq!(site.sim.vm(9001).unwrap().config["name"], "matrix");
    let told = notices(&site).join("\n");
    assert!(told.contains("VM 9000 on `proxmox1` was left half-made; fedi takes another number"), "{told}");
    assert!(told.contains("qm unlock 9000 && qm destroy 9000"), "{told}");
    // What is not ours by uuid, mark and pool is left to the administrator.
    completed(&site.destroy("matrix").await.unwrap());
    assert_eq!(site.sim.vmids(), [9000]);
    assert_eq!(site.wiring.ledger("matrix").await, [""; 0]);
}

#[tokio::test]
async fn a_create_that_is_killed_every_time() {
    let site = site().await;
    for _ in 0..8 {
        let point = "disk-allocated".to_owned();
        site.sim.inject(Fault::Crash(Crash { task: "qmcreate".to_owned(), id: None, point }));
    }
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    says(&failure, CREATE, "its log breaks off", "qm unlock");
    assert!(failure.left.unwrap().contains("may be half-made on node `proxmox1`"));
    assert!(site.wiring.addresses.list().await.unwrap().is_empty());
    assert_eq!(site.wiring.ledger("matrix").await, [""; 0]);
}

#[tokio::test]
async fn a_start_that_fails_under_a_create_that_went_well() {
    let setup = fedi_testsite::Setup { bridges: vec!["vmbr9".to_owned()], ..fedi_testsite::Setup::default() };
    let site = TestSite::with(setup, fedi_testsite::Wires::default()).await;
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    assert_eq!(failure.message, "Failed to start VM `matrix` on host `proxmox1`");
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn a_cluster_without_quorum() {
    let site = site().await;
    // The image is there already, so that it is the VM which needs the cluster.
    completed(&site.deploy("matrix").await.unwrap());
    completed(&site.destroy("matrix").await.unwrap());
    site.sim.control(Command::Quorum { quorate: false }).await;
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    says(&failure, CREATE, "no quorum", "Nothing can be changed on a cluster without quorum");
    nothing_is_left(&site).await;
    site.sim.control(Command::Quorum { quorate: true }).await;
    completed(&site.deploy("matrix").await.unwrap());
}

#[tokio::test]
async fn a_cluster_that_loses_quorum_while_a_vm_is_destroyed() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    site.sim.control(Command::Quorum { quorate: false }).await;
    let outcome = site.destroy("matrix").await.unwrap();
    let failure = super::paused(&outcome);
    assert!(failure.hint.unwrap().contains("without quorum"));
    assert_eq!(site.sim.vmids(), [9000]);
    site.sim.control(Command::Quorum { quorate: true }).await;
    completed(&site.engine().resume(outcome.run().unwrap()).await.unwrap());
    nothing_is_left(&site).await;
}

fn fail(site: &TestSite, fault: RequestFault, times: u32) {
    let (method, path) = (Some("POST".to_owned()), Some("/qemu".to_owned()));
    site.sim.inject(Fault::Request { on: RequestMatch { method, path, skip: 0, times }, fault });
}

/// A 596 hides what the node said: the VM may be there or not.
#[tokio::test]
async fn an_error_that_a_596_hides() {
    let site = site().await;
    fail(&site, RequestFault::FailAfter { status: 596, reason: "Connection timed out".to_owned() }, 1);
    completed(&site.deploy("matrix").await.unwrap());
    assert_eq!(site.sim.vmids(), [9000]);
    completed(&site.destroy("matrix").await.unwrap());

    fail(&site, RequestFault::Fail { status: 596, reason: "Connection timed out".to_owned() }, 3);
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    says(&failure, CREATE, "Proxmox may or may not have carried out the request", "");
    assert!(failure.left.unwrap().contains("VM 9000 may be half-made on node `proxmox1`"));
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn a_right_that_is_missing() {
    let site = site().await;
    let reason = "Permission check failed (/pool/fedi, VM.Allocate)".to_owned();
    fail(&site, RequestFault::Fail { status: 403, reason }, 0);
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    says(&failure, CREATE, "lacks `VM.Allocate` on `/pool/fedi`", "Run `fedi doctor proxmox1`");
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn a_node_that_is_down() {
    let site = site().await;
    let on = RequestMatch { times: 0, ..RequestMatch::default() };
    site.sim.inject(Fault::Request { on, fault: RequestFault::Cut });
    let Err(WorkflowError::Driver(error)) = site.deploy("matrix").await else { panic!() };
    assert_eq!(error.kind, DriverErrorKind::Unavailable);
    assert!(error.hint.unwrap().contains("up, and reachable from here?"));
    site.sim.control(Command::ClearFaults).await;
    nothing_is_left(&site).await;
}
