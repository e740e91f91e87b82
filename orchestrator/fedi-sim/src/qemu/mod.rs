//! Virtual machines: configuration, life cycle, disks, snapshots, guest agent.
//!
//! Source of order and texts: `PVE::API2::Qemu`, `PVE::QemuServer` and `PVE::AbstractConfig`.

mod agent;
mod apply;
mod clone;
mod cloudinit;
mod config;
mod create;
mod destroy;
mod disks;
mod drive;
mod lifecycle;
mod net;
mod power;
mod resize;
mod rights;
mod snapshot;
mod spec;
mod start;
mod status;
mod template;
mod update;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use agent::{
    AgentProcess, agent_exec, agent_exec_status, agent_file_read, agent_file_write, agent_host_name, agent_info,
    agent_interfaces, agent_osinfo, agent_ping,
};
pub(crate) use clone::clone_vm;
pub(crate) use cloudinit::{cloudinit_dump, cloudinit_pending, cloudinit_update};
pub(crate) use config::Config;
pub(crate) use create::create_vm;
pub(crate) use destroy::destroy_vm;
pub(crate) use power::{reboot, reset, resume, shutdown, stop, suspend};
pub(crate) use resize::{move_disk, resize};
pub(crate) use snapshot::{
    feature, snapshot_config, snapshot_create, snapshot_delete, snapshot_list, snapshot_rollback, snapshot_update,
};
pub(crate) use start::start;
pub(crate) use status::{list, pending, read_config, status};
pub(crate) use template::template;
pub(crate) use update::{unlink, update_async, update_sync};

use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;

/// A machine that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) since: Duration,
    pub(crate) paused: bool,
}

/// A VM: its configuration file and whether it runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Vm {
    pub(crate) node: String,
    pub(crate) config: Config,
    pub(crate) pending: Config,
    /// Options that go at the next start, with `force`.
    pub(crate) pending_delete: BTreeMap<String, bool>,
    /// What the cloud-init image was made from, where the configuration has moved on since.
    pub(crate) cloudinit: Config,
    pub(crate) snapshots: BTreeMap<String, Config>,
    pub(crate) running: Option<Running>,
}

impl Vm {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }

    pub(crate) fn is_template(&self) -> bool {
        self.get("template").is_some_and(|value| value != "0")
    }

    /// Refuses while the configuration is locked.
    pub(crate) fn check_lock(&self) -> ApiResult<()> {
        match self.get("lock") {
            Some(lock) => Err(ApiError::die(format!("VM is locked ({lock})"))),
            None => Ok(()),
        }
    }

    pub(crate) fn check_protection(&self, what: &str) -> ApiResult<()> {
        match self.get("protection") {
            None | Some("0" | "") => Ok(()),
            Some(_) => Err(ApiError::die(format!("{what} - protection mode enabled"))),
        }
    }

    /// SHA-1 of the configuration file.
    pub(crate) fn digest(&self) -> String {
        config::digest(self)
    }

    /// Writes a disk to the first free `unusedN`.
    pub(crate) fn add_unused(&mut self, volid: &str) {
        let known = self.config.iter().any(|(key, value)| key.starts_with("unused") && value == volid);
        if known {
            return;
        }
        if let Some(key) = (0..256).map(|n| format!("unused{n}")).find(|key| !self.config.contains_key(key)) {
            self.config.insert(key, volid.to_owned());
        }
    }

    /// The smbios uuid, which is what a guest is known by.
    pub(crate) fn uuid(&self) -> uuid::Uuid {
        let smbios = self.get("smbios1").unwrap_or_default();
        smbios
            .split(',')
            .find_map(|part| part.strip_prefix("uuid="))
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }
}

/// What the cluster's round of figures holds of a VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VmFigures {
    pub(crate) name: String,
    pub(crate) running: bool,
    pub(crate) template: bool,
    pub(crate) cpus: u64,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) uptime: u64,
}

impl VmFigures {
    pub(crate) fn of(vm: &Vm, now: Duration) -> Self {
        Self {
            name: vm.get("name").unwrap_or("VM").to_owned(),
            running: vm.running.is_some(),
            template: vm.is_template(),
            cpus: status::cpus(vm),
            memory: status::memory_bytes(vm),
            disk: drive::boot_disk_size(&vm.config).unwrap_or(0),
            uptime: vm.running.as_ref().map_or(0, |running| now.saturating_sub(running.since).as_secs()),
        }
    }
}

/// The lock file of a VM's configuration.
pub(crate) fn lock_path(vmid: u32) -> String {
    format!("/var/lock/qemu-server/lock-{vmid}.conf")
}

/// Whether a VM runs now; asks the backend, which may have lost it meanwhile.
pub(crate) async fn check_running(sim: &Sim, node: &str, vmid: u32) -> bool {
    let uuid = {
        let state = sim.read();
        match state.vm(node, vmid) {
            Ok(vm) if vm.running.is_some() => vm.uuid(),
            _ => return false,
        }
    };
    if sim.backend.is_running(uuid).await {
        return true;
    }
    lifecycle::mark_stopped(sim, node, vmid);
    false
}

/// A configuration value in the JSON type PVE gives it.
pub(crate) fn json_value(key: &str, value: &str) -> Value {
    config::json_value(key, value)
}
