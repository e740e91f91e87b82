//! Changing the simulated world from outside: the same commands in the library and on a Unix socket, one JSON
//! object a line.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use super::Fault;
use crate::cluster::{Daemon, Node, Proxied};
use crate::sim::Sim;

/// Something that happens to the simulated cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Adds a fault.
    Fault {
        /// What and to whom.
        fault: Fault,
    },
    /// Removes all faults.
    ClearFaults,
    /// How a node is reached from the others.
    Node {
        /// Its name.
        node: String,
        /// The state of the link.
        link: Proxied,
    },
    /// Adds a node that is known to the cluster but has no API of its own here.
    AddNode {
        /// Its name.
        node: String,
        /// Why it is not reached.
        link: Proxied,
    },
    /// Removes a node, with its VMs.
    RemoveNode {
        /// Its name.
        node: String,
    },
    /// What a node's pvedaemon does.
    Pvedaemon {
        /// The node.
        node: String,
        /// The daemon's state.
        daemon: Daemon,
    },
    /// The cluster has quorum, or not.
    Quorum {
        /// Whether it has.
        quorate: bool,
    },
    /// Fills a storage up to a rest.
    LeaveSpace {
        /// The storage.
        storage: String,
        /// Bytes that stay free on its (first) node.
        bytes: u64,
    },
    /// The process of a VM dies.
    KillGuest {
        /// The VM.
        vmid: u32,
    },
    /// A worker dies by SIGKILL.
    KillWorker {
        /// Its UPID.
        upid: String,
    },
    /// Adds a wait to every import from now on.
    ImportDelay {
        /// Milliseconds; 0 = none.
        milliseconds: u64,
    },
    /// Puts an empty VM on a node, as if another administrator had made it.
    ForeignVm {
        /// Its id.
        vmid: u32,
        /// The node it is on.
        node: String,
        /// Its smbios uuid.
        uuid: Option<uuid::Uuid>,
    },
    /// Sets an option of a VM past all checks, `None` removes it.
    SetOption {
        /// The VM.
        vmid: u32,
        /// Option name, for example `lock`.
        option: String,
        /// New value.
        value: Option<String>,
    },
    /// Lets time pass (on a virtual clock at once).
    Advance {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// The log of requests.
    Requests,
    /// Empties the log of requests.
    ClearRequests,
    /// All VMs with their configuration.
    Vms,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandReply {
    /// Whether it was carried out.
    pub ok: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl CommandReply {
    fn from_result(result: Result<Value, String>) -> Self {
        match result {
            Ok(data) => Self { ok: true, error: None, data },
            Err(error) => Self { ok: false, error: Some(error), data: Value::Null },
        }
    }
}

pub(crate) async fn run(sim: &Arc<Sim>, command: Command) -> CommandReply {
    CommandReply::from_result(carry_out(sim, command).await)
}

async fn carry_out(sim: &Arc<Sim>, command: Command) -> Result<Value, String> {
    let no_node = |node: &str| format!("There is no node `{node}`");
    match command {
        Command::Fault { fault } => sim.faults.add(fault),
        Command::ClearFaults => sim.faults.clear(),
        Command::Node { node, link } => {
            sim.write().node_mut(&node).ok_or_else(|| no_node(&node))?.link = link;
        }
        Command::AddNode { node, link } => {
            let mut state = sim.write();
            let like = state.nodes.first().cloned().ok_or_else(|| no_node("*"))?;
            state.nodes.push(Node { name: node, link, ..like });
        }
        Command::RemoveNode { node } => {
            let mut state = sim.write();
            state.nodes.retain(|known| known.name != node);
            state.vms.retain(|_, vm| vm.node != node);
        }
        Command::Pvedaemon { node, daemon } => {
            sim.write().node_mut(&node).ok_or_else(|| no_node(&node))?.pvedaemon = daemon;
        }
        Command::Quorum { quorate } => sim.write().quorate = quorate,
        Command::LeaveSpace { storage, bytes } => leave_space(sim, &storage, bytes)?,
        Command::KillGuest { vmid } => {
            let vm = sim.read().vms.get(&vmid).cloned().ok_or_else(|| format!("There is no VM {vmid}"))?;
            sim.backend.stop(vm.uuid()).await.map_err(|error| error.to_string())?;
        }
        Command::KillWorker { upid } => {
            sim.workers.get(&upid).ok_or_else(|| format!("No worker `{upid}` runs"))?.kill();
            // The runtime drops the worker a moment later.
            while sim.workers.get(&upid).is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Command::ImportDelay { milliseconds } => {
            let mut tuning = sim.tuning.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            tuning.import_delay = Duration::from_millis(milliseconds);
        }
        Command::ForeignVm { vmid, node, uuid } => {
            sim.read().node(&node).ok_or_else(|| no_node(&node))?;
            let uuid = uuid.unwrap_or_else(|| sim.random_uuid());
            let config = [("name", "foreign".to_owned()), ("smbios1", format!("uuid={uuid}"))];
            let config = config.map(|(key, value)| (key.to_owned(), value)).into();
            sim.write().vms.insert(vmid, crate::qemu::Vm { node, config, ..crate::qemu::Vm::default() });
        }
        Command::SetOption { vmid, option, value } => {
            let mut state = sim.write();
            let vm = state.vms.get_mut(&vmid).ok_or_else(|| format!("There is no VM {vmid}"))?;
            match value {
                Some(value) => vm.config.insert(option, value),
                None => vm.config.remove(&option),
            };
        }
        Command::Advance { milliseconds } => sim.clock.advance(Duration::from_millis(milliseconds)).await,
        Command::Requests => return serde_json::to_value(sim.traffic.all()).map_err(|error| error.to_string()),
        Command::ClearRequests => sim.traffic.clear(),
        Command::Vms => return Ok(vms(sim)),
    }
    Ok(Value::Null)
}

fn leave_space(sim: &Sim, id: &str, bytes: u64) -> Result<(), String> {
    let mut state = sim.write();
    let node = state.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
    let storage = state.storage(id).cloned().ok_or_else(|| format!("There is no storage `{id}`"))?;
    let used = state.used_bytes(&storage, &node) - storage.occupied;
    let occupied = storage.total.saturating_sub(used).saturating_sub(bytes);
    if let Some(storage) = state.storages.iter_mut().find(|storage| storage.id == id) {
        storage.occupied = occupied;
    }
    Ok(())
}

fn vms(sim: &Sim) -> Value {
    let state = sim.read();
    let rows: Vec<Value> = state
        .vms
        .iter()
        .map(|(vmid, vm)| json!({"vmid": vmid, "node": vm.node, "running": vm.running.is_some(), "config": vm.config}))
        .collect();
    rows.into()
}

/// Answers commands on a Unix socket until the simulator stops.
pub(crate) async fn serve_control(sim: Arc<Sim>, listener: UnixListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let sim = sim.clone();
        tokio::spawn(async move {
            let (reading, mut writing) = stream.into_split();
            let mut lines = BufReader::new(reading).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let reply = match serde_json::from_str(&line) {
                    Ok(command) => run(&sim, command).await,
                    Err(error) => CommandReply::from_result(Err(format!("No such command: {error}"))),
                };
                let Ok(mut text) = serde_json::to_string(&reply) else { return };
                text.push('\n');
                if writing.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}
