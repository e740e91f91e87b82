//! A running simulator in the hands of a test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::builder::uuid_of;
use crate::clock::Clock;
use crate::faults::{Command, CommandReply, Fault, run_command};
use crate::sim::Sim;
use crate::storage::{Kind, Volume, qcow2_header, volume_key};
use crate::traffic::RequestRecord;

/// A VM as the simulator has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmView {
    /// The node it is on.
    pub node: String,
    /// Its configuration.
    pub config: BTreeMap<String, String>,
    /// The pool it is in.
    pub pool: Option<String>,
    /// Whether its process runs, as the simulator last knew.
    pub running: bool,
}

/// A task as the simulator has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// Its id.
    pub upid: String,
    /// Exit text; `None` while it runs.
    pub status: Option<String>,
    /// What it printed.
    pub log: Vec<String>,
}

/// A running simulator; it stops when this goes.
pub struct SimHandle {
    sim: Arc<Sim>,
    address: SocketAddr,
    addresses: BTreeMap<String, SocketAddr>,
    secrets: BTreeMap<String, String>,
    servers: Vec<JoinHandle<()>>,
    _temporary: Option<tempfile::TempDir>,
}

impl SimHandle {
    pub(crate) fn new(
        sim: Arc<Sim>,
        address: SocketAddr,
        addresses: BTreeMap<String, SocketAddr>,
        secrets: BTreeMap<String, String>,
        servers: Vec<JoinHandle<()>>,
        temporary: Option<tempfile::TempDir>,
    ) -> Self {
        Self { sim, address, addresses, secrets, servers, _temporary: temporary }
    }

    /// `https://127.0.0.1:PORT` of the first node.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where the first node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a node listens.
    pub fn node_address(&self, node: &str) -> Option<SocketAddr> {
        self.addresses.get(node).copied()
    }

    /// SHA-256 of the servers' certificate as `AB:CD:...`.
    pub fn fingerprint(&self) -> &str {
        &self.sim.identity.fingerprint
    }

    /// The cluster's CA.
    pub fn ca_pem(&self) -> &str {
        &self.sim.identity.ca_pem
    }

    /// A token with its secret, `user@realm!name=SECRET`, as it follows `PVEAPIToken=`.
    pub fn token(&self, id: &str) -> Option<String> {
        self.secrets.get(id).map(|secret| format!("{id}={secret}"))
    }

    /// A token's secret alone.
    pub fn secret(&self, id: &str) -> Option<&str> {
        self.secrets.get(id).map(String::as_str)
    }

    /// The clock of the cluster.
    pub fn clock(&self) -> &Clock {
        &self.sim.clock
    }

    /// Where files of the storages are.
    pub fn directory(&self) -> &Path {
        &self.sim.directory
    }

    /// Carries out a command.
    pub async fn control(&self, command: Command) -> CommandReply {
        run_command(&self.sim, command).await
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.sim.faults.add(fault);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.sim.traffic.all()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.sim.traffic.clear();
    }

    /// A VM.
    pub fn vm(&self, vmid: u32) -> Option<VmView> {
        let state = self.sim.read();
        state.vms.get(&vmid).map(|vm| VmView {
            node: vm.node.clone(),
            config: vm.config.clone(),
            pool: state.access.pool_of(vmid).map(str::to_owned),
            running: vm.running.is_some(),
        })
    }

    /// The ids of all VMs.
    pub fn vmids(&self) -> Vec<u32> {
        self.sim.read().vms.keys().copied().collect()
    }

    /// What the backend knows a VM by.
    pub fn guest_uuid(&self, vmid: u32) -> Option<Uuid> {
        uuid_of(&self.sim, vmid)
    }

    /// All tasks, oldest first.
    pub fn tasks(&self) -> Vec<TaskView> {
        let state = self.sim.read();
        state
            .tasks
            .iter()
            .map(|task| TaskView { upid: task.upid.clone(), status: task.status.clone(), log: task.log.clone() })
            .collect()
    }

    /// A task's exit text, if it has ended.
    pub fn exit_text(&self, upid: &str) -> Option<String> {
        let state = self.sim.read();
        state.tasks.iter().rev().find(|task| task.upid == upid).and_then(|task| task.status.clone())
    }

    /// The volume ids of a storage, sorted.
    pub fn volumes(&self, storage: &str) -> Vec<String> {
        let state = self.sim.read();
        let mut names: Vec<String> = state
            .volumes
            .values()
            .filter(|volume| volume.storage == storage)
            .map(|volume| volume.volid.clone())
            .collect();
        names.sort();
        names
    }

    /// Puts a file into a storage's import folder, as if it had been uploaded.
    ///
    /// # Errors
    ///
    /// When the file cannot be written or there is no such storage.
    pub fn add_import(&self, storage: &str, name: &str, content: &[u8], length: u64) -> std::io::Result<PathBuf> {
        let mut state = self.sim.write();
        let missing = || std::io::Error::other(format!("There is no storage `{storage}`"));
        let config = state.storage(storage).cloned().ok_or_else(missing)?;
        let node = state.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
        let home = if config.shared { "shared" } else { &node };
        let folder = self.sim.directory.join("storage").join(home).join(storage);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("import-{name}"));
        std::fs::write(&path, content)?;
        std::fs::OpenOptions::new().write(true).open(&path)?.set_len(length.max(content.len() as u64))?;
        let size = std::fs::metadata(&path)?.len();
        let volid = format!("{storage}:import/{name}");
        let format = name.rsplit('.').next().unwrap_or("raw").to_owned();
        let volume = Volume {
            volid: volid.clone(),
            storage: storage.to_owned(),
            node: node.clone(),
            kind: Kind::Import,
            format,
            size,
            used: size,
            ctime: self.sim.clock.seconds(),
            vmid: None,
            parent: None,
            file: Some(path.clone()),
            origin: None,
            booted: false,
            notes: None,
            protected: false,
        };
        state.volumes.insert(volume_key(&config, &node, &volid), volume);
        Ok(path)
    }

    /// Puts an empty qcow2 of a virtual size into a storage's import folder; its file has `length` bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::add_import`].
    pub fn add_image(&self, storage: &str, name: &str, virtual_size: u64, length: u64) -> std::io::Result<PathBuf> {
        self.add_import(storage, name, &qcow2_header(virtual_size), length)
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.sim.stopped.store(true, Ordering::Relaxed);
        for server in &self.servers {
            server.abort();
        }
        for control in self.sim.workers.lock().values() {
            control.kill();
        }
    }
}
