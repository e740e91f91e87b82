//! Nodes and what the cluster knows of itself.

mod index;
mod node;
mod resources;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use index::{index, root_index};
pub(crate) use node::{certificates, networks, node_status, node_version, nodes, version};
pub(crate) use resources::{cluster_resources, storage_resource, vm_resource};

use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::qemu::VmFigures;
use crate::sim::Sim;
use crate::state::State;

/// How a node's pvedaemon does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// Answers.
    #[default]
    Running,
    /// Is stopped (SIGSTOP): calls wait, and run when it goes on.
    Hanging,
    /// Is not there: calls are refused.
    Down,
}

/// How a node is reached from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proxied {
    /// It answers.
    #[default]
    Reachable,
    /// Nothing listens there.
    Refused,
    /// The machine is off.
    NoRoute,
}

/// A node of the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: String,
    pub(crate) link: Proxied,
    pub(crate) pvedaemon: Daemon,
    pub(crate) cpus: u32,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) bridges: Vec<String>,
}

impl Node {
    pub(crate) fn reach(&self) -> Proxied {
        self.link
    }
}

/// Figures that the nodes send round from time to time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Broadcast {
    at: Duration,
    pub(crate) vms: BTreeMap<u32, VmFigures>,
}

/// Takes new figures when the old ones are due. Called before anything reads or changes them, so that readers see
/// what was true at the last round.
pub(crate) fn refresh_broadcast(state: &mut State, sim: &Sim) {
    let now = sim.clock.now();
    let interval = sim.tuning().broadcast_interval.as_millis();
    let round = |time: Duration| time.as_millis().checked_div(interval);
    if interval > 0 && round(now) == round(state.broadcast.at) && !state.broadcast.at.is_zero() {
        return;
    }
    state.broadcast.at = now;
    state.broadcast.vms = state.vms.iter().map(|(vmid, vm)| (*vmid, VmFigures::of(vm, now))).collect();
}

/// The node a path names, as the contacted one finds it.
pub(crate) fn resolve_node(sim: &Arc<Sim>, contacted: &str, node: &str) -> ApiResult<String> {
    if node == "localhost" {
        return Ok(contacted.to_owned());
    }
    if sim.read().node(node).is_some() {
        return Ok(node.to_owned());
    }
    Err(ApiError::die(format!(
        "hostname lookup '{node}' failed - failed to get address info for: {node}: Temporary failure in name \
         resolution"
    )))
}

/// `GET /cluster/nextid`
pub(crate) fn next_id(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    if let Some(vmid) = call.params.text("vmid") {
        let taken = vmid.parse().is_ok_and(|vmid: u32| state.vms.contains_key(&vmid));
        if taken {
            return Err(ApiError::param("vmid", format!("VM {vmid} already exists")));
        }
        return Ok(vmid.into());
    }
    let free = (100..1_000_000_u32).find(|vmid| !state.vms.contains_key(vmid));
    free.map(|vmid| vmid.to_string().into())
        .ok_or_else(|| ApiError::die("unable to get any free VMID in range [100, 1000000]"))
}

/// `GET /cluster/status`
pub(crate) fn cluster_status(call: &Call) -> Reply {
    let state = call.sim.read();
    let several = state.nodes.len() > 1;
    let mut rows: Vec<Value> = Vec::new();
    if several {
        rows.push(json!({
            "type": "cluster", "id": "cluster", "name": "fedi-sim", "version": state.nodes.len(),
            "nodes": state.nodes.len(), "quorate": u8::from(state.quorate),
        }));
    }
    for (index, node) in state.nodes.iter().enumerate() {
        let local = node.name == call.node;
        rows.push(json!({
            "type": "node", "id": format!("node/{}", node.name), "name": node.name, "ip": node.ip, "level": "",
            "local": u8::from(local), "nodeid": if several { index + 1 } else { 0 },
            "online": u8::from(local || node.link == Proxied::Reachable),
        }));
    }
    Value::from(rows).into()
}

/// `GET /cluster/options`
pub(crate) fn cluster_options(call: &Call) -> Reply {
    let state = call.sim.read();
    let mut tags: Vec<String> = state
        .vms
        .iter()
        .filter(|(vmid, _)| call.allows(&state, &Path::vm(**vmid), &["VM.Audit"]))
        .filter_map(|(_, vm)| vm.config.get("tags"))
        .flat_map(|tags| tags.split(';').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    tags.sort();
    tags.dedup();
    let mut data = json!({"allowed-tags": tags});
    if call.allows(&state, &Path::root(), &["Sys.Audit"]) {
        data["mac_prefix"] = "BC:24:11".into();
        data["description"] = "".into();
    }
    data.into()
}

/// `GET /cluster/ha/status/current`
pub(crate) fn ha_status(call: &Call) -> Reply {
    let quorate = call.sim.read().quorate;
    let status = if quorate { "OK" } else { "No quorum on node!" };
    let mut rows = vec![json!({
        "id": "quorum", "type": "quorum", "node": call.node, "quorate": u8::from(quorate), "status": status,
    })];
    if call.sim.version.at_least(9, 2) {
        rows.push(json!({
            "id": "fencing", "type": "fencing", "node": call.node, "armed-state": "standby",
            "status": "standby (CRM watchdog standby)",
        }));
    }
    Value::from(rows).into()
}
