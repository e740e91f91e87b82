//! What plays the machine behind a simulated VM.
//!
//! The simulator keeps configuration, locks and tasks; whether something really boots is the backend's affair.
//! [`ModelBackend`] has no process at all; the sandbox brings one made of real systemd guests.

mod model;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use model::{ModelBackend, ModelSettings};

/// One network card of a guest, as `netN` and `ipconfigN` give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// Index N of `netN`.
    pub index: u8,
    /// MAC address as PVE writes it (`BC:24:11:xx:xx:xx`).
    pub mac: String,
    /// Bridge on the node, for example `vmbr0`.
    pub bridge: String,
    /// Static addresses with prefix length, from `ipconfigN`; empty when DHCP or unset.
    pub addresses: Vec<IpNet>,
    /// Default gateways, at most one a family.
    pub gateways: Vec<IpAddr>,
}

/// Everything a backend needs to make and boot one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// The smbios uuid: the identity of the guest, also across node moves and VMID re-use.
    pub uuid: uuid::Uuid,
    /// VMID at this moment.
    pub vmid: u32,
    /// Node that runs it.
    pub node: String,
    /// `name` of the configuration (the hostname that cloud-init would set).
    pub name: String,
    /// The image file the root disk was imported from (a file on the simulated storage).
    pub image_path: Option<PathBuf>,
    /// SHA-256 of that image, lower-case hex.
    pub image_sha256: Option<String>,
    /// Virtual size of the boot disk in bytes.
    pub root_disk_bytes: u64,
    /// Size of the second disk (`scsi1`) in GiB, where there is one.
    pub state_disk_gib: Option<u64>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// CPU cores over all sockets.
    pub cores: u32,
    /// Network cards in order of their index.
    pub nics: Vec<NicSpec>,
    /// Name servers of the cloud-init data.
    pub nameservers: Vec<IpAddr>,
    /// Search domain of the cloud-init data.
    pub search_domain: Option<String>,
    /// `ciuser`.
    pub user: Option<String>,
    /// Public keys, one a line of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// True when this disk has never been booted with this cloud-init data.
    pub first_boot: bool,
}

/// A network card as the guest agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name inside the guest, for example `eth0`.
    pub name: String,
    /// Hardware address in lower case.
    pub mac: String,
    /// Addresses with prefix length.
    pub addresses: Vec<IpNet>,
}

/// What a command run through the guest agent left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code, or 128 + signal.
    pub status: i32,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, whole.
    pub stderr: Vec<u8>,
}

/// Why a backend could not do what was asked. The text ends in the task's or the answer's error.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The guest is not known or not running.
    #[error("guest {0} is not running")]
    NotRunning(uuid::Uuid),
    /// The agent inside the guest does not answer (not yet up, or dead).
    #[error("guest agent does not answer")]
    NoAgent,
    /// The guest agent's own error, such as a missing file.
    #[error("{0}")]
    Guest(String),
    /// The machine could not be made, started or stopped.
    #[error("{0}")]
    Failed(String),
}

/// Makes, boots and asks guests. Every method is safe to call again after a crash of the simulator.
#[async_trait]
pub trait GuestBackend: Send + Sync {
    /// Makes the guest's disks; it does not boot. Called at the end of a create or clone.
    async fn create(&self, spec: &GuestSpec) -> Result<(), BackendError>;

    /// Boots the guest; returns when the machine's process runs, not when the system is up.
    async fn start(&self, spec: &GuestSpec) -> Result<(), BackendError>;

    /// Asks the guest to power off and waits up to `timeout`. Returns whether it went down.
    async fn shutdown(&self, uuid: uuid::Uuid, timeout: Duration) -> Result<bool, BackendError>;

    /// Cuts the power. No error when it does not run.
    async fn stop(&self, uuid: uuid::Uuid) -> Result<(), BackendError>;

    /// Removes every trace of the guest. No error when there is none.
    async fn destroy(&self, uuid: uuid::Uuid) -> Result<(), BackendError>;

    /// Whether the machine's process runs now.
    async fn is_running(&self, uuid: uuid::Uuid) -> bool;

    /// One `guest-ping`.
    async fn agent_ping(&self, uuid: uuid::Uuid) -> Result<(), BackendError>;

    /// Reads at most `max_bytes` of a file in the guest.
    async fn read_file(&self, uuid: uuid::Uuid, path: &str, max_bytes: usize) -> Result<Vec<u8>, BackendError>;

    /// Writes a whole file in the guest.
    async fn write_file(&self, uuid: uuid::Uuid, path: &str, content: &[u8]) -> Result<(), BackendError>;

    /// Runs a command in the guest and waits for its end.
    async fn exec(&self, uuid: uuid::Uuid, argv: &[String], stdin: &[u8]) -> Result<ExecOutput, BackendError>;

    /// The guest's network cards.
    async fn interfaces(&self, uuid: uuid::Uuid) -> Result<Vec<Interface>, BackendError>;
}
