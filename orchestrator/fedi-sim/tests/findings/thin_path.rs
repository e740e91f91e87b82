//! The whole way of a deployment: image up, VM made and started, its file read, VM gone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{EIGHT, NINE, machine_with, start};

#[tokio::test]
async fn from_image_to_file_in_the_guest_and_back() {
    for version in [NINE, EIGHT] {
        let world = start(version).await;
        let vmid: u32 = world.api.get("/cluster/nextid").await.data().as_str().unwrap().parse().unwrap();
        let wanted = machine_with(vmid, &json!({"start": 1, "scsi1": "local:2", "description": "fedi: 1"}));
        assert_eq!(world.create(wanted).await, "OK");
        let path = format!("/nodes/pve/qemu/{vmid}");
        for _ in 0..100 {
            if world.api.get(&format!("{path}/status/current")).await.data()["status"] == "running" {
                break;
            }
            world.sim.clock().advance(Duration::from_millis(500)).await;
        }
        let ping = world.api.post(&format!("{path}/agent/ping"), Value::Null).await;
        assert_eq!(ping.reason, "QEMU guest agent is not running");
        world.sim.clock().advance(Duration::from_secs(5)).await;
        assert_eq!(world.api.post(&format!("{path}/agent/ping"), Value::Null).await.status, 200);
        let file = world.api.get(&format!("{path}/agent/file-read?file=/etc/fedi/release")).await;
        assert_eq!(file.data()["content"], "r1\n");
        let members = world.api.get("/pools?poolid=fedi").await.data()[0]["members"].clone();
        assert_eq!(members[0]["vmid"], vmid);
        let upid = world.api.post(&format!("{path}/status/shutdown"), json!({"timeout": 30})).await.upid();
        assert_eq!(world.api.wait(&upid).await, "OK");
        let upid = world.api.delete(&format!("{path}?purge=1")).await.upid();
        assert_eq!(world.api.wait(&upid).await, "OK");
        assert!(world.sim.vmids().is_empty());
        assert_eq!(world.sim.volumes("local"), ["local:import/app.qcow2"]);
    }
}
