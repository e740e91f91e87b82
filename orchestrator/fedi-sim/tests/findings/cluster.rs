//! Several nodes, and what happens when parts of a cluster are away.

use std::time::Duration;

use fedi_sim::faults::Command;
use fedi_sim::{Daemon, Proxied};
use serde_json::json;

use crate::common::{Api, Client};
use crate::world::{NINE, builder, machine, start, world};

#[tokio::test]
async fn two_nodes_cannot_make_the_same_vm() {
    let world = world(builder(NINE).nodes(&["pve", "pve2"]).start().await.unwrap());
    let other = world.sim.node_address("pve2").unwrap();
    let other = Api { client: Client::new(other, world.sim.fingerprint()), ..world.root.clone() };
    let (first, second) = tokio::join!(
        world.root.post("/nodes/pve/qemu", json!({"vmid": 140})),
        other.post("/nodes/pve2/qemu", json!({"vmid": 140})),
    );
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
    let loser = if first.status == 500 { first } else { second };
    assert!(loser.reason.starts_with("unable to create VM 140 - VM 140 already exists on node 'pve"), "{loser:?}");
}

#[tokio::test]
async fn a_call_for_another_node_is_passed_on() {
    let world = world(builder(NINE).nodes(&["pve", "pve2"]).start().await.unwrap());
    let upid = world.root.post("/nodes/pve2/qemu", json!({"vmid": 141})).await.upid();
    assert!(upid.starts_with("UPID:pve2:"));
    assert_eq!(world.root.wait(&upid).await, "OK");
    assert_eq!(world.sim.vm(141).unwrap().node, "pve2");
    for (link, reason) in [(Proxied::NoRoute, "No route to host"), (Proxied::Refused, "Connection refused")] {
        assert!(world.sim.control(Command::Node { node: "pve2".to_owned(), link }).await.ok);
        let answer = world.root.get("/nodes/pve2/qemu").await;
        assert_eq!((answer.status, answer.reason.as_str()), (595, reason));
    }
}

#[tokio::test]
async fn after_a_596_the_call_still_happens() {
    let world = start(NINE).await;
    let daemon = |daemon| Command::Pvedaemon { node: "pve".to_owned(), daemon };
    assert!(world.sim.control(daemon(Daemon::Hanging)).await.ok);
    let before = world.sim.clock().seconds();
    let answer = world.root.post("/nodes/pve/qemu", json!({"vmid": 150})).await;
    assert_eq!((answer.status, answer.reason.as_str()), (596, "Connection timed out"));
    assert_eq!(world.sim.clock().seconds() - before, 30);
    assert!(world.sim.vm(150).is_none());
    assert!(world.sim.control(daemon(Daemon::Running)).await.ok);
    world.sim.clock().advance(Duration::from_secs(3)).await;
    assert!(world.sim.vm(150).is_some());
    assert!(world.sim.control(daemon(Daemon::Down)).await.ok);
    let answer = world.root.post("/nodes/pve/qemu", json!({"vmid": 151})).await;
    assert_eq!((answer.status, answer.reason.as_str()), (595, "Connection refused"));
    assert_eq!(world.root.get("/nodes/pve/qemu/150/config").await.status, 200, "pveproxy answers this itself");
}

#[tokio::test]
async fn without_quorum_nothing_is_written_and_everything_can_be_read() {
    let world = start(NINE).await;
    assert_eq!(world.create(machine(160)).await, "OK");
    assert!(world.sim.control(Command::Quorum { quorate: false }).await.ok);
    let create = world.root.post("/nodes/pve/qemu", json!({"vmid": 161})).await;
    assert_eq!(create.reason, "cluster not ready - no quorum?");
    let put = world.root.put("/nodes/pve/qemu/160/config", json!({"name": "x"})).await;
    assert!(put.reason.starts_with("unable to open file '/etc/pve/nodes/pve/qemu-server/160.conf.tmp."), "{put:?}");
    let pool = world.root.post("/pools", json!({"poolid": "new"})).await;
    assert_eq!(pool.reason, "create pool failed: cfs-lock 'file-user_cfg' error: no quorum!");
    assert_eq!(world.root.get("/nodes/pve/qemu/160/config").await.data()["name"], "vm160");
}

#[tokio::test]
async fn cluster_resources_lag_behind() {
    let world = start(NINE).await;
    assert_eq!(world.create(machine(170)).await, "OK");
    world.sim.clock().advance(Duration::from_secs(11)).await;
    let status = || async {
        let rows = world.root.get("/cluster/resources?type=vm").await.data();
        rows.as_array().unwrap().iter().find(|row| row["vmid"] == 170).unwrap()["status"].clone()
    };
    assert_eq!(status().await, "stopped");
    let upid = world.api.post("/nodes/pve/qemu/170/status/start", serde_json::Value::Null).await.upid();
    assert_eq!(world.api.wait(&upid).await, "OK");
    assert_eq!(status().await, "stopped", "the figures of up to ten seconds ago");
    world.sim.clock().advance(Duration::from_secs(11)).await;
    assert_eq!(status().await, "running");
}
