//! Answers that fail or get lost.

use fedi_sim::faults::{Fault, RequestFault, RequestMatch};
use serde_json::json;

use crate::world::{NINE, builder, start};

fn on(method: &str, path: &str, skip: u32, times: u32, fault: RequestFault) -> Fault {
    let on = RequestMatch { method: Some(method.to_owned()), path: Some(path.to_owned()), skip, times };
    Fault::Request { on, fault }
}

#[tokio::test]
async fn the_nth_matching_request_fails() {
    let world = start(NINE).await;
    world.sim.inject(on("GET", "/version", 1, 1, RequestFault::Fail { status: 500, reason: "got timeout".to_owned() }));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(world.api.get("/version").await.status);
    }
    assert_eq!(seen, [200, 500, 200]);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_deed_done() {
    let world = start(NINE).await;
    world.sim.inject(on("POST", "/qemu", 0, 1, RequestFault::DropReply));
    let answer = world.root.post("/nodes/pve/qemu", json!({"vmid": 101})).await;
    assert_eq!(answer.status, 0);
    assert!(world.sim.vm(101).is_some());
    world.sim.inject(on("POST", "/qemu", 0, 1, RequestFault::Cut));
    assert_eq!(world.root.post("/nodes/pve/qemu", json!({"vmid": 102})).await.status, 0);
    assert!(world.sim.vm(102).is_none());
    let lost = RequestFault::FailAfter { status: 596, reason: "Connection timed out".to_owned() };
    world.sim.inject(on("POST", "/qemu", 0, 1, lost));
    assert_eq!(world.root.post("/nodes/pve/qemu", json!({"vmid": 103})).await.status, 596);
    assert!(world.sim.vm(103).is_some());
}

#[tokio::test]
async fn requests_are_written_down_without_secrets() {
    let world = start(NINE).await;
    world.api.get("/version").await;
    let requests = world.sim.requests();
    assert_eq!(requests.len(), 1);
    let shown = serde_json::to_string(&requests).unwrap();
    assert!(shown.contains("/version") && !shown.contains(world.sim.secret("fedi@pve!deploy").unwrap()), "{shown}");
}

#[tokio::test]
async fn a_seed_makes_the_same_cluster_again() {
    let mut macs = Vec::new();
    for seed in [7, 7, 8] {
        let world = crate::world::world(builder(NINE).seed(seed).start().await.unwrap());
        let network = json!({"vmid": 101, "net0": "virtio,bridge=vmbr0"});
        let upid = world.root.post("/nodes/pve/qemu", network).await.upid();
        assert_eq!(world.root.wait(&upid).await, "OK");
        macs.push(world.sim.vm(101).unwrap().config["net0"].clone());
    }
    assert!(macs[0] == macs[1] && macs[1] != macs[2], "{macs:?}");
}
