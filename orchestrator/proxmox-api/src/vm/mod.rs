//! Virtual machines.

mod agent;
mod config;
mod create;
mod device;
mod network;
mod power;
mod start;

pub use agent::{AgentRequest, ExecStatus, GuestFile, GuestInterface, GuestRequest};
pub use config::{ConfigChange, GetConfig, SetConfig, VmConfig};
pub use create::{CloudInit, CreateVm};
pub use device::{Disk, DiskSource, NetworkDevice};
pub use network::{IpConfig, StaticIp};
pub use power::{DestroyVm, GetVmStatus, Power, ResizeDisk, SetPower, VmStatus};

use proxmox_schema::Upid;

use crate::class::Missing;
use crate::client::Client;
use crate::error::{Error, absent};
use crate::task::{TaskEntry, TaskQuery};

/// A VM on a node, whether it exists or not. A VMID is no identity: compare [`VmConfig::uuid`] before anything
/// that cannot be undone.
#[derive(Clone, Debug)]
pub struct Vm {
    pub(crate) client: Client,
    pub(crate) node: String,
    pub(crate) vmid: u32,
}

impl Vm {
    pub fn vmid(&self) -> u32 {
        self.vmid
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    /// Makes the VM, and starts it if the request says so. An id that is taken is a conflict; nothing was done then.
    ///
    /// The task that is named here ends before the VM runs: the start is a second task that nothing names. See
    /// [`Vm::await_start`].
    pub async fn create(&self, vm: &CreateVm) -> Result<Upid, Error> {
        self.client.send(&create::Create { node: &self.node, vmid: self.vmid, vm }).await
    }

    /// The configuration, or nothing if there is no such VM. While it is being made, it holds only a lock.
    ///
    /// A VM that the caller may not see is [`crate::Class::Permission`], whether it exists or not.
    pub async fn config(&self) -> Result<Option<VmConfig>, Error> {
        self.config_as(false).await
    }

    /// The same without changes that wait for the VM's next start.
    pub async fn current_config(&self) -> Result<Option<VmConfig>, Error> {
        self.config_as(true).await
    }

    async fn config_as(&self, current: bool) -> Result<Option<VmConfig>, Error> {
        absent(self.client.send(&GetConfig { node: &self.node, vmid: self.vmid, current }).await, Missing::Vm)
    }

    /// Changes the configuration, at once. With the digest of the configuration that the change is based on, a
    /// change by somebody else in the meantime is a conflict.
    pub async fn set_config(&self, change: &ConfigChange) -> Result<(), Error> {
        self.client.send(&SetConfig { node: &self.node, vmid: self.vmid, change }).await
    }

    /// Like [`Vm::set_config`], as a task: for changes that take long, such as making disks.
    pub async fn set_config_in_background(&self, change: &ConfigChange) -> Result<Option<Upid>, Error> {
        self.client.send(&config::SetConfigInBackground { node: &self.node, vmid: self.vmid, change }).await
    }

    /// The state as it is now, or nothing if there is no such VM.
    pub async fn status(&self) -> Result<Option<VmStatus>, Error> {
        absent(self.client.send(&GetVmStatus { node: &self.node, vmid: self.vmid }).await, Missing::Vm)
    }

    /// The task fails if there is no such VM.
    pub async fn start(&self) -> Result<Upid, Error> {
        self.power(Power::Start).await
    }

    /// Pulls the plug. The task ends well if the VM is stopped already.
    pub async fn stop(&self) -> Result<Upid, Error> {
        self.power(Power::Stop).await
    }

    /// Asks the guest to stop, and pulls the plug after this many seconds. The task ends well if the VM is stopped
    /// already.
    pub async fn shutdown(&self, seconds: u32) -> Result<Upid, Error> {
        self.power(Power::Shutdown { seconds, then_stop: true }).await
    }

    pub async fn power(&self, power: Power) -> Result<Upid, Error> {
        self.client.send(&SetPower { node: &self.node, vmid: self.vmid, power }).await
    }

    /// Destroys the VM with its disks. It must be stopped, and must not be protected. Disks that are not in its
    /// configuration are left alone, as they may be those of another VM that had the id.
    pub async fn destroy(&self) -> Result<Upid, Error> {
        self.client.send(&DestroyVm { node: &self.node, vmid: self.vmid }).await
    }

    /// Makes a disk larger, to this many GiB. Proxmox never makes one smaller; the task fails then.
    pub async fn grow_disk(&self, disk: &str, gib: u32, digest: Option<&str>) -> Result<Upid, Error> {
        self.client.send(&ResizeDisk { node: &self.node, vmid: self.vmid, disk, gib, digest }).await
    }

    /// The VM's tasks that the caller may see, newest first; all of its own are among them.
    pub async fn tasks(&self, query: TaskQuery) -> Result<Vec<TaskEntry>, Error> {
        self.client.tasks(&self.node, &TaskQuery { vmid: Some(self.vmid), ..query }).await
    }
}
