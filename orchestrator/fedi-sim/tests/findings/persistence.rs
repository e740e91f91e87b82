//! A simulator that goes on where another one ended.

use fedi_sim::faults::{Crash, Fault};

use crate::world::{NINE, builder, machine, world};

#[tokio::test]
async fn a_cluster_goes_on_from_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    let started = || async { builder(NINE).directory(folder.path()).start().await.unwrap() };
    let first = world(started().await);
    assert_eq!(first.create(machine(101)).await, "OK");
    let (fingerprint, secret) = (first.sim.fingerprint().to_owned(), first.api.token.clone());
    let uuid = first.sim.guest_uuid(101);
    drop(first);
    let second = world(started().await);
    assert_eq!((second.sim.fingerprint(), &second.api.token), (fingerprint.as_str(), &secret));
    assert_eq!(second.sim.guest_uuid(101), uuid);
    assert_eq!(second.api.get("/nodes/pve/qemu/101/config").await.data()["name"], "vm101");
}

#[tokio::test]
async fn a_create_that_was_under_way_is_a_lock_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let crash = Crash { task: "qmcreate".to_owned(), id: None, point: "disk-allocated".to_owned() };
    let first = world(builder(NINE).directory(folder.path()).fault(Fault::Crash(crash)).start().await.unwrap());
    assert_eq!(first.create(machine(102)).await, "unexpected status");
    drop(first);
    let second = world(builder(NINE).directory(folder.path()).start().await.unwrap());
    assert_eq!(second.sim.vm(102).unwrap().config["lock"], "create");
    let status = second.sim.tasks().into_iter().find(|task| task.upid.contains(":qmcreate:102:")).unwrap().status;
    assert_eq!(status.as_deref(), Some("unexpected status"));
}
