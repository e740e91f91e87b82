//! Who may do what, and how it is said.

use serde_json::json;

use crate::common::encode;
use crate::world::{EIGHT, NINE, machine, machine_with, start};

#[tokio::test]
async fn a_401_takes_three_seconds_and_does_not_say_what_was_wrong() {
    let world = start(NINE).await;
    let with = |value: &str| vec![("Authorization".to_owned(), value.to_owned())];
    let zeros = "00000000-0000-0000-0000-000000000000";
    for (headers, reason) in [
        (Vec::new(), "No ticket"),
        (with("Bearer x"), "No ticket"),
        (with(&format!("PVEAPIToken=root@pam!full={zeros}")), "Authentication failed!"),
        (with(&format!("PVEAPIToken=nobody@pve!x={zeros}")), "Authentication failed!"),
    ] {
        let before = world.sim.clock().seconds();
        let answer = world.api.client.raw("GET", "/api2/json/version", &headers, b"").await;
        assert_eq!((answer.status, answer.reason.as_str()), (401, reason));
        assert_eq!(world.sim.clock().seconds() - before, 3);
        assert_eq!((answer.body.len(), answer.header("Content-Length").len()), (0, 0));
    }
}

#[tokio::test]
async fn a_ticket_needs_its_csrf_token_to_write() {
    let world = start(NINE).await;
    let body = json!({"username": "root@pam", "password": "correct horse"}).to_string();
    let json_type = ("Content-Type".to_owned(), "application/json".to_owned());
    let login = world.api.client.raw("POST", "/api2/json/access/ticket", &[json_type], body.as_bytes()).await;
    let data = login.data();
    let cookie = ("Cookie".to_owned(), format!("PVEAuthCookie={}", encode(data["ticket"].as_str().unwrap())));
    let path = "/api2/json/nodes/pve/qemu/900/status/start";
    let without = world.api.client.raw("POST", path, std::slice::from_ref(&cookie), b"").await;
    assert_eq!((without.status, without.reason.as_str()), (401, "Permission denied - invalid csrf token"));
    let csrf = ("CSRFPreventionToken".to_owned(), data["CSRFPreventionToken"].as_str().unwrap().to_owned());
    let with = world.api.client.raw("POST", path, &[cookie, csrf], b"").await;
    assert_eq!(with.status, 200);
    let refused = world.root.post("/access/ticket", json!({"username": "root@pam", "password": "correct horse"})).await;
    assert_eq!(refused.status, 403, "a token cannot log in");
}

#[tokio::test]
async fn a_privsep_token_has_what_both_it_and_its_user_have() {
    let world = start(NINE).await;
    let nothing = crate::common::Api::new(&world.sim, "fedi@pve!nothing");
    assert_eq!(nothing.get("/access/permissions").await.data(), json!({}));
    assert_eq!(nothing.get("/pools").await.data(), json!([]));
    let refused = nothing.post("/nodes/pve/qemu", machine(101)).await;
    assert_eq!((refused.status, refused.reason.as_str()), (403, "Permission check failed"));
    let acl = json!({"path": "/pool/fedi", "roles": "Administrator", "tokens": "fedi@pve!nothing"});
    assert_eq!(world.root.put("/access/acl", acl).await.status, 200);
    let held = nothing.get("/access/permissions").await.data();
    assert!(held["/pool/fedi"]["VM.Allocate"].is_number(), "{held}");
    assert!(held["/pool/fedi"]["Pool.Allocate"].is_null(), "the user has no Pool.Allocate: {held}");
}

#[tokio::test]
async fn tags_at_create_are_checked_before_the_vm_is_in_its_pool_since_9_2() {
    let tagged = machine_with(103, &json!({"tags": "fedi"}));
    let nine = start(NINE).await;
    let expected = "unable to create VM 103 - 403 Permission check failed (/vms/103, VM.Config.Options)";
    assert_eq!(nine.create(tagged.clone()).await, expected);
    assert_eq!(nine.create(machine(103)).await, "OK");
    assert_eq!(nine.api.put("/nodes/pve/qemu/103/config", json!({"tags": "fedi"})).await.status, 200);
    let eight = start(EIGHT).await;
    assert_eq!(eight.create(tagged).await, "OK");
}

#[tokio::test]
async fn a_token_sees_its_own_tasks_only() {
    let world = start(NINE).await;
    let upid = world.root.post("/nodes/pve/qemu", json!({"vmid": 104})).await.upid();
    world.root.wait(&upid).await;
    let nothing = crate::common::Api::new(&world.sim, "fedi@pve!nothing");
    let status = nothing.get(&format!("/nodes/pve/tasks/{}/status", encode(&upid))).await;
    assert_eq!((status.status, status.reason.as_str()), (403, "Permission check failed (/nodes/pve, Sys.Audit)"));
    assert_eq!(nothing.get("/nodes/pve/tasks").await.data(), json!([]));
}

#[tokio::test]
async fn parameters_are_checked_before_rights() {
    let world = start(NINE).await;
    let nothing = crate::common::Api::new(&world.sim, "fedi@pve!nothing");
    let answer = nothing.post("/nodes/pve/qemu", json!({"vmid": 105, "foo": 1})).await;
    assert_eq!(answer.status, 400);
    let text = "property is not defined in schema and the schema does not allow additional properties";
    assert_eq!(answer.error("foo"), text);
}
