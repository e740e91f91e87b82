//! Creating, starting, stopping and destroying virtual machines.

use std::time::Duration;

use fedi_sim::faults::{Command, Crash, Fault};
use serde_json::{Value, json};

use crate::common::encode;
use crate::world::{NINE, World, builder, machine, machine_with, start, world};

async fn slow_import(world: &World, vmid: u32) -> String {
    assert!(world.sim.control(Command::ImportDelay { milliseconds: 60_000 }).await.ok);
    let upid = world.api.post("/nodes/pve/qemu", machine(vmid)).await.upid();
    world.sim.clock().advance(Duration::from_secs(1)).await;
    upid
}

#[tokio::test]
async fn start_at_create_is_a_second_task_that_no_answer_names() {
    let world = start(NINE).await;
    assert_eq!(world.create(machine_with(101, &json!({"start": 1}))).await, "OK");
    let tasks = world.api.get("/nodes/pve/tasks?vmid=101&source=all&typefilter=qmstart").await.data();
    assert_eq!(tasks.as_array().unwrap().len(), 1, "{tasks}");
    let upid = tasks[0]["upid"].as_str().unwrap();
    assert_eq!(world.api.wait(upid).await, "OK");
    assert_eq!(world.api.get("/nodes/pve/qemu/101/status/current").await.data()["status"], "running");
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing_in_the_create_task() {
    let world = start(NINE).await;
    let broken = json!({"vmid": 102, "net0": "virtio,bridge=vmbr77", "start": 1});
    let upid = world.root.post("/nodes/pve/qemu", broken).await.upid();
    assert_eq!(world.root.wait(&upid).await, "OK");
    let log = world.root.get(&format!("/nodes/pve/tasks/{}/log", encode(&upid))).await.data();
    assert_eq!(log[0]["t"], "Execute autostart");
    world.sim.clock().advance(Duration::from_secs(30)).await;
    assert_eq!(world.root.get("/nodes/pve/qemu/102/status/current").await.data()["status"], "stopped");
    let failed = world.root.get("/nodes/pve/tasks?vmid=102&errors=1").await.data();
    assert_eq!(failed[0]["type"], "qmstart");
}

#[tokio::test]
async fn a_half_made_vm_is_a_lock_and_nothing_else() {
    let world = start(NINE).await;
    let creating = slow_import(&world, 110).await;
    let config = world.root.get("/nodes/pve/qemu/110/config").await.data();
    assert_eq!((config["lock"].as_str(), config.as_object().unwrap().len()), (Some("create"), 2));
    assert_eq!(world.api.get("/nodes/pve/qemu/110/config").await.status, 403, "it is in no pool yet");
    let before = world.sim.clock().seconds();
    let second = world.root.post("/nodes/pve/qemu", json!({"vmid": 110})).await;
    let text = "unable to create VM 110 - can't lock file '/var/lock/qemu-server/lock-110.conf' - got timeout";
    assert_eq!((second.status, second.reason.as_str()), (500, text));
    assert_eq!(world.sim.clock().seconds() - before, 5);
    let put = world.root.put("/nodes/pve/qemu/110/config", json!({"name": "x"})).await;
    assert_eq!(put.reason, "VM is locked (create)");
    let destroying = world.root.delete("/nodes/pve/qemu/110").await.upid();
    let exit = world.root.wait(&destroying).await;
    assert_eq!(exit, "can't lock file '/var/lock/qemu-server/lock-110.conf' - got timeout");
    assert_eq!(world.api.wait(&creating).await, "OK");
}

#[tokio::test]
async fn aborting_a_create_cleans_up_and_killing_its_worker_does_not() {
    let world = start(NINE).await;
    let aborted = slow_import(&world, 111).await;
    assert_eq!(world.api.delete(&format!("/nodes/pve/tasks/{}", encode(&aborted))).await.status, 200);
    assert!(world.api.wait(&aborted).await.ends_with("failed: received interrupt"));
    assert_eq!(world.root.get("/nodes/pve/qemu/111/config").await.status, 500);
    assert!(world.sim.volumes("local").iter().all(|volume| !volume.contains("111")));

    let killed = slow_import(&world, 112).await;
    assert!(world.sim.control(Command::KillWorker { upid: killed.clone() }).await.ok);
    assert_eq!(world.api.wait(&killed).await, "unexpected status");
    assert_eq!(world.root.get("/nodes/pve/qemu/112/config").await.data()["lock"], "create");
    let destroying = world.root.delete("/nodes/pve/qemu/112").await.upid();
    assert_eq!(world.root.wait(&destroying).await, "VM is locked (create)");
    let skipping = world.root.delete("/nodes/pve/qemu/112?skiplock=1").await;
    assert_eq!(skipping.error("skiplock"), "Only root may use this option.");
}

#[tokio::test]
async fn a_crash_can_be_scripted_for_a_point_of_the_work() {
    let crash = Crash { task: "qmcreate".to_owned(), id: Some("113".to_owned()), point: "disk-allocated".to_owned() };
    let world = world(builder(NINE).fault(Fault::Crash(crash)).start().await.unwrap());
    assert_eq!(world.create(machine(113)).await, "unexpected status");
    assert_eq!(world.sim.vm(113).unwrap().config["lock"], "create");
    assert_eq!(world.create(machine(114)).await, "OK");
}

#[tokio::test]
async fn nextid_reserves_nothing_and_ids_are_used_again() {
    let world = start(NINE).await;
    let next = || async { world.api.get("/cluster/nextid").await.data() };
    assert_eq!(next().await, "100");
    assert_eq!(next().await, "100");
    assert_eq!(world.create(machine(100)).await, "OK");
    assert_eq!(next().await, "101");
    let taken = world.api.get("/cluster/nextid?vmid=100").await;
    assert_eq!(taken.error("vmid"), "VM 100 already exists");
    let upid = world.api.delete("/nodes/pve/qemu/100").await.upid();
    assert_eq!(world.api.wait(&upid).await, "OK");
    assert_eq!(next().await, "100");
}

#[tokio::test]
async fn a_stale_digest_is_refused() {
    let world = start(NINE).await;
    assert_eq!(world.create(machine(120)).await, "OK");
    let path = "/nodes/pve/qemu/120/config";
    let digest = world.api.get(path).await.data()["digest"].clone();
    assert_eq!(world.api.put(path, json!({"description": "a", "digest": digest})).await.status, 200);
    let stale = world.api.put(path, json!({"description": "b", "digest": digest})).await;
    assert_eq!((stale.status, stale.reason.as_str()), (500, "checksum mismatch (file change by other user?)"));
}

#[tokio::test]
async fn many_errors_come_as_a_task() {
    let world = start(NINE).await;
    let upid = world.root.post("/nodes/pve/qemu/900/status/start", Value::Null).await.upid();
    assert_eq!(world.root.wait(&upid).await, "Configuration file 'nodes/pve/qemu-server/900.conf' does not exist");
    let missing = json!({"vmid": 121, "scsi0": "local:0,import-from=local:import/none.qcow2"});
    let upid = world.root.post("/nodes/pve/qemu", missing).await.upid();
    let text = "unable to create VM 121 - failed to stat '/var/lib/vz/import/none.qcow2'";
    assert_eq!(world.root.wait(&upid).await, text);
    assert_eq!(world.root.get("/nodes/pve/qemu/121/config").await.status, 500, "the half-made VM is gone");
}

#[tokio::test]
async fn a_running_vm_is_not_destroyed_and_a_protected_one_neither() {
    let world = start(NINE).await;
    assert_eq!(world.create(machine(122)).await, "OK");
    let upid = world.api.post("/nodes/pve/qemu/122/status/start", Value::Null).await.upid();
    assert_eq!(world.api.wait(&upid).await, "OK");
    assert_eq!(world.api.delete("/nodes/pve/qemu/122").await.reason, "VM 122 is running - destroy failed");
    let upid = world.api.post("/nodes/pve/qemu/122/status/stop", Value::Null).await.upid();
    assert_eq!(world.api.wait(&upid).await, "OK");
    assert_eq!(world.api.put("/nodes/pve/qemu/122/config", json!({"protection": 1})).await.status, 200);
    let refused = world.api.delete("/nodes/pve/qemu/122").await;
    assert_eq!(refused.reason, "can't remove VM 122 - protection mode enabled");
}
