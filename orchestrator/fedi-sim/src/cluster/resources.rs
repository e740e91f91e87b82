//! `/cluster/resources`: one list of everything, with figures that may be ten seconds old.

use serde_json::{Value, json};

use super::{node, refresh_broadcast};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::state::State;
use crate::storage::StorageConfig;
use crate::version::Version;

/// A VM as the cluster's last round of figures has it; one that is newer is `unknown`.
pub(crate) fn vm_resource(version: Version, state: &State, vmid: u32) -> Value {
    let node = state.vms.get(&vmid).map_or("", |vm| vm.node.as_str());
    let mut row = json!({"id": format!("qemu/{vmid}"), "type": "qemu", "node": node, "vmid": vmid});
    let Some(figures) = state.broadcast.vms.get(&vmid) else {
        row["status"] = "unknown".into();
        return row;
    };
    row["status"] = if figures.running { "running" } else { "stopped" }.into();
    row["name"] = figures.name.as_str().into();
    row["template"] = u8::from(figures.template).into();
    row["maxcpu"] = figures.cpus.into();
    row["maxmem"] = figures.memory.into();
    row["maxdisk"] = figures.disk.into();
    row["uptime"] = figures.uptime.into();
    for key in ["cpu", "mem", "disk", "diskread", "diskwrite", "netin", "netout"] {
        row[key] = 0.into();
    }
    if version.reports_pressure() {
        row["memhost"] = 0.into();
    }
    row
}

/// A storage on a node.
pub(crate) fn storage_resource(state: &State, storage: &StorageConfig, node: &str) -> Value {
    json!({
        "id": format!("storage/{node}/{}", storage.id), "type": "storage", "storage": storage.id, "node": node,
        "plugintype": storage.kind, "content": storage.content.join(","), "shared": u8::from(storage.shared),
        "status": "available", "maxdisk": storage.total, "disk": state.used_bytes(storage, node),
    })
}

/// `GET /cluster/resources`
pub(crate) fn cluster_resources(call: &Call) -> Reply {
    let sim = &call.sim;
    let now = sim.clock.now();
    let mut state = sim.write();
    refresh_broadcast(&mut state, sim);
    let wanted = call.params.text("type");
    let wants = |kind: &str| wanted.as_deref().is_none_or(|wanted| wanted == kind);
    let mut rows = Vec::new();
    if wanted.is_none() {
        for name in state.access.pools.keys() {
            if call.allows(&state, &Path::pool(name), &["Pool.Audit"]) {
                rows.push(json!({"id": format!("/pool/{name}"), "type": "pool", "pool": name}));
            }
        }
    }
    if wants("vm") {
        for (vmid, vm) in &state.vms {
            if !call.allows(&state, &Path::vm(*vmid), &["VM.Audit"]) {
                continue;
            }
            let mut row = vm_resource(sim.version, &state, *vmid);
            for key in ["lock", "tags"] {
                if let Some(value) = vm.config.get(key) {
                    row[key] = value.as_str().into();
                }
            }
            if let Some(pool) = state.access.pool_of(*vmid) {
                row["pool"] = pool.into();
            }
            rows.push(row);
        }
    }
    if wants("node") {
        for member in &state.nodes {
            if !call.allows(&state, &Path::node(&member.name), &["Sys.Audit"]) {
                continue;
            }
            let mut row = json!({
                "id": format!("node/{}", member.name), "type": "node", "node": member.name, "level": "",
                "status": "online", "cgroup-mode": 2,
            });
            for (key, value) in node::figures(&state, member, now) {
                row[key] = value;
            }
            rows.push(row);
        }
    }
    if wants("storage") {
        for member in &state.nodes {
            let visible = state.storages.iter().filter(|storage| {
                !storage.disabled
                    && storage.is_on(&member.name)
                    && call
                        .require_any(
                            &state,
                            &Path::storage(&storage.id),
                            &["Datastore.Audit", "Datastore.AllocateSpace"],
                        )
                        .is_ok()
            });
            rows.extend(visible.map(|storage| storage_resource(&state, storage, &member.name)));
        }
    }
    if wants("sdn") {
        for member in &state.nodes {
            let path = Path::new("/sdn/zones/localnetwork");
            if call.require_any(&state, &path, &["SDN.Audit", "SDN.Allocate"]).is_ok() {
                rows.push(zone(sim.version, &member.name));
            }
        }
    }
    Value::from(rows).into()
}

fn zone(version: Version, node: &str) -> Value {
    if version.major() >= 9 {
        json!({
            "id": format!("network/{node}/zone/localnetwork"), "type": "network", "network": "localnetwork",
            "network-type": "zone", "node": node, "status": "ok",
        })
    } else {
        json!({"id": format!("sdn/{node}/localnetwork"), "type": "sdn", "sdn": "localnetwork", "node": node,
               "status": "ok"})
    }
}
