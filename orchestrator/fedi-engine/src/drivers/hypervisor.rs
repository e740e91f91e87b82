//! A hypervisor: images and virtual machines.

use async_trait::async_trait;
use fedi_model::name::DeploymentName;
use fedi_model::resource::{Image, Vm};

use super::{DriverError, StepContext};

/// A hypervisor, bound to one host of the inventory.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// Whether the image lies on the host's image storage, whole.
    async fn observe_image(&self, image: &Image) -> Result<Option<Image>, DriverError>;

    /// Brings the image there. Safe to repeat; a half-written one is written anew.
    async fn ensure_image(&self, image: &Image, cx: &dyn StepContext) -> Result<Image, DriverError>;

    /// Deletes the image.
    async fn remove_image(&self, image: &Image, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// All images that fedi put there.
    async fn images(&self) -> Result<Vec<StoredImage>, DriverError>;

    /// The VM with `vm.uuid` as it is. What cannot be read back (addresses, keys) is
    /// taken from `vm`. A VM of another uuid is never reported.
    async fn observe_vm(&self, vm: &Vm) -> Result<Option<Vm>, DriverError>;

    /// Every VM that carries fedi's marks and lies in its pool, with what its marks say:
    /// one call, for plans over many deployments.
    async fn vms(&self) -> Result<Vec<(DeploymentName, Vm)>, DriverError>;

    /// Makes the VM and starts it, or changes it to what is wanted; returns it as it
    /// is. Only done when it really runs.
    async fn ensure_vm(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Vm, DriverError>;

    /// Stops and destroys the VM with its disks. Refuses a VM that it cannot prove to
    /// be `vm`: uuid, pool and description must agree.
    async fn remove_vm(&self, vm: &Vm, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// A file's content, read through the guest agent; `None` while no agent answers.
    async fn read_guest_file(&self, vm: &Vm, path: &str, cx: &dyn StepContext) -> Result<Option<Vec<u8>>, DriverError>;

    /// Everything about the host that an operator would check before using it.
    async fn examine(&self) -> Result<HypervisorReport, DriverError>;
}

/// An image on a host's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// File name.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A host, examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypervisorReport {
    /// Product and version: `Proxmox VE 9.1.4`.
    pub version: String,
    /// What is fine, a line each.
    pub fine: Vec<String>,
    /// What is wrong, with a hint each.
    pub problems: Vec<(String, Option<String>)>,
    /// Rights that fedi needs and does not have.
    pub missing: Vec<MissingRight>,
    /// The commands, to be run on the host by its administrator, that grant them.
    pub grant: Vec<String>,
}

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingRight {
    /// Where: `/pool/fedi`.
    pub path: String,
    /// What: `VM.Allocate`.
    pub privilege: String,
    /// What fedi needs it for.
    pub purpose: String,
}
