//! Everything the simulated cluster remembers, in one place that can be saved.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::cluster::{Broadcast, Node};
use crate::error::{ApiError, ApiResult};
use crate::qemu::Vm;
use crate::storage::{StorageConfig, Volume};
use crate::tasks::TaskRecord;

/// The cluster's memory: what `/etc/pve`, the storages and the task logs hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) access: Access,
    pub(crate) nodes: Vec<Node>,
    pub(crate) quorate: bool,
    pub(crate) storages: Vec<StorageConfig>,
    /// By [`crate::storage::volume_key`]: volumes of storages that are not shared exist once a node.
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) vms: BTreeMap<u32, Vm>,
    /// Oldest first.
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) next_pid: u32,
    /// Signs tickets; kept so that they survive a restart.
    pub(crate) ticket_key: String,
    pub(crate) broadcast: Broadcast,
    /// When the cluster was started.
    pub(crate) booted: Duration,
}

impl State {
    pub(crate) fn storage(&self, id: &str) -> Option<&StorageConfig> {
        self.storages.iter().find(|storage| storage.id == id)
    }

    /// A storage's configuration, or PVE's error.
    pub(crate) fn need_storage(&self, id: &str) -> ApiResult<&StorageConfig> {
        self.storage(id).ok_or_else(|| ApiError::die(format!("storage '{id}' does not exist")))
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }

    /// A VM's configuration as `node` sees it, or PVE's error.
    pub(crate) fn vm(&self, node: &str, vmid: u32) -> ApiResult<&Vm> {
        self.vms.get(&vmid).filter(|vm| vm.node == node).ok_or_else(|| no_config(node, vmid))
    }

    pub(crate) fn vm_mut(&mut self, node: &str, vmid: u32) -> ApiResult<&mut Vm> {
        self.vms.get_mut(&vmid).filter(|vm| vm.node == node).ok_or_else(|| no_config(node, vmid))
    }

    pub(crate) fn take_pid(&mut self) -> u32 {
        // Each worker has a parent that also took a number.
        self.next_pid = self.next_pid.max(1000) + 2;
        self.next_pid
    }

    /// Writing to `/etc/pve` without quorum fails like a file without rights.
    pub(crate) fn may_write(&self, node: &str, vmid: u32, pid: u32) -> ApiResult<()> {
        if self.quorate {
            return Ok(());
        }
        Err(ApiError::die(format!(
            "unable to open file '/etc/pve/nodes/{node}/qemu-server/{vmid}.conf.tmp.{pid}' - Permission denied"
        )))
    }

    /// The check that comes before anything that needs quorum.
    pub(crate) fn check_quorum(&self) -> ApiResult<()> {
        if self.quorate { Ok(()) } else { Err(ApiError::die("cluster not ready - no quorum?")) }
    }
}

fn no_config(node: &str, vmid: u32) -> ApiError {
    ApiError::die(format!("Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist"))
}
