//! `/version`, `/nodes` and what a node says of itself.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Node, Proxied};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::state::State;

/// `GET /version`
pub(crate) fn version(call: &Call) -> Reply {
    let version = call.sim.version;
    json!({"version": version.to_string(), "release": version.release(), "repoid": version.repoid()}).into()
}

/// `GET /nodes/{node}/version`
pub(crate) fn node_version(call: &Call) -> Reply {
    version(call)
}

pub(super) fn uptime(state: &State, now: Duration) -> u64 {
    now.saturating_sub(state.booted).as_secs()
}

/// The size of the root file system of every node; bytes.
pub(super) const ROOT_SIZE: u64 = 270_553_174_016;
/// What is used of it.
pub(super) const ROOT_USED: u64 = 23_215_927_296;

pub(super) fn figures(state: &State, node: &Node, now: Duration) -> Map<String, Value> {
    let figures = json!({
        "cpu": 0.01, "maxcpu": node.cpus, "mem": node.memory / 10, "maxmem": node.memory, "disk": ROOT_USED,
        "maxdisk": ROOT_SIZE, "uptime": uptime(state, now),
    });
    figures.as_object().cloned().unwrap_or_default()
}

/// `GET /nodes`
pub(crate) fn nodes(call: &Call) -> Reply {
    let state = call.sim.read();
    let now = call.sim.clock.now();
    let rows: Vec<Value> = state
        .nodes
        .iter()
        .map(|node| {
            let mut row = Map::new();
            let online = node.name == call.node || node.link == Proxied::Reachable;
            row.insert("node".to_owned(), node.name.as_str().into());
            row.insert("id".to_owned(), format!("node/{}", node.name).into());
            row.insert("type".to_owned(), "node".into());
            row.insert("level".to_owned(), "".into());
            row.insert("status".to_owned(), if online { "online" } else { "offline" }.into());
            row.insert("ssl_fingerprint".to_owned(), call.sim.identity.fingerprint.as_str().into());
            if online && call.allows(&state, &Path::node(&node.name), &["Sys.Audit"]) {
                row.extend(figures(&state, node, now));
            }
            row.into()
        })
        .collect();
    Value::from(rows).into()
}

/// `GET /nodes/{node}/status`
pub(crate) fn node_status(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let node = state.node(&call.node).ok_or_else(|| ApiError::die("no such node"))?;
    let version = call.sim.version;
    let mut data = json!({
        "boot-info": {"mode": "legacy-bios"},
        "cpu": 0.01, "idle": 0, "wait": 0,
        "cpuinfo": {"cores": node.cpus, "cpus": node.cpus, "family": "25", "flags": "fpu vme", "hvm": "1",
                    "mhz": "2445.426", "model": "AMD EPYC", "sockets": 1, "user_hz": 100, "vendor": "AuthenticAMD"},
        "current-kernel": {"machine": "x86_64", "release": "6.14.8-2-pve", "sysname": "Linux",
                           "version": "#1 SMP PREEMPT_DYNAMIC PMX 6.14.8-2"},
        "ksm": {"shared": 0},
        "kversion": "Linux 6.14.8-2-pve #1 SMP PREEMPT_DYNAMIC PMX 6.14.8-2",
        "loadavg": ["0.10", "0.10", "0.10"],
        "memory": {"available": node.memory / 10 * 9, "free": node.memory / 10 * 8, "total": node.memory,
                   "used": node.memory / 10},
        "pveversion": format!("pve-manager/{version}/{}", version.repoid()),
        "rootfs": {"avail": ROOT_SIZE - ROOT_USED, "free": ROOT_SIZE - ROOT_USED, "total": ROOT_SIZE,
                   "used": ROOT_USED},
        "swap": {"free": 0, "total": 0, "used": 0},
        "uptime": uptime(&state, call.sim.clock.now()),
    });
    if version.major() < 9 {
        for (part, newer) in [("memory", "available"), ("cpuinfo", "family"), ("cpuinfo", "vendor")] {
            data[part].as_object_mut().map(|figures| figures.remove(newer));
        }
    }
    Ok(data.into())
}

/// `GET /nodes/{node}/network`
pub(crate) fn networks(call: &Call) -> Reply {
    let state = call.sim.read();
    let wanted = call.params.text("type");
    let rows: Vec<Value> = state
        .node(&call.node)
        .into_iter()
        .flat_map(|node| node.bridges.iter().enumerate().map(move |(index, bridge)| (node, index, bridge)))
        .filter(|_| wanted.as_deref().is_none_or(|kind| matches!(kind, "bridge" | "any_bridge" | "any_local_bridge")))
        .filter(|(_, _, bridge)| {
            let path = Path::new(format!("/sdn/zones/localnetwork/{bridge}"));
            call.require_any(&state, &path, &["SDN.Audit", "SDN.Use"]).is_ok()
                || call.allows(&state, &Path::node(&call.node), &["Sys.Audit"])
        })
        .map(|(node, index, bridge)| {
            json!({
                "iface": bridge, "type": "bridge", "active": 1, "autostart": 1, "address": node.ip,
                "cidr": format!("{}/24", node.ip), "netmask": "24", "bridge_ports": "", "bridge_stp": "off",
                "bridge_fd": "0", "families": ["inet"], "method": "static", "method6": "manual",
                "priority": index + 3,
            })
        })
        .collect();
    Value::from(rows).into()
}

/// `GET /nodes/{node}/certificates/info`
pub(crate) fn certificates(call: &Call) -> Reply {
    let identity = &call.sim.identity;
    let now = call.sim.clock.seconds();
    let issuer = "/CN=Proxmox Virtual Environment/O=PVE Cluster Manager CA";
    json!([
        {"filename": "pve-root-ca.pem", "fingerprint": identity.ca_fingerprint, "issuer": issuer,
         "subject": issuer, "notbefore": now, "notafter": now + 315_360_000, "pem": identity.ca_pem,
         "public-key-bits": 256, "public-key-type": "id-ecPublicKey", "san": []},
        {"filename": "pve-ssl.pem", "fingerprint": identity.fingerprint, "issuer": issuer,
         "subject": format!("/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={}", call.node),
         "notbefore": now, "notafter": now + 63_072_000, "pem": identity.certificate_pem,
         "public-key-bits": 256, "public-key-type": "id-ecPublicKey", "san": identity.names},
    ])
    .into()
}
