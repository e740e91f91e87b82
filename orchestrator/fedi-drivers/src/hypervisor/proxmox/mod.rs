//! Proxmox VE 8.4 to 9.x.
//!
//! A VM is ours when its SMBIOS UUID is the journal's, its description carries our mark
//! and it lies in our pool; its number alone says nothing.

mod create;
mod fault;
mod image;
mod machine;
mod mark;
mod recent;
mod removal;
mod rights;
mod times;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, DriverErrorKind, Hypervisor, HypervisorReport, StepContext, StoredImage};
use fedi_model::inventory::{Hypervisor as Settings, Tls};
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::{Image, Vm};
use proxmox_api::{
    ApiToken, Class, Client, Clock, Credentials, Endpoint, Fingerprint, Node, Observer, Options, State, Storage,
    SystemClock, Trust, VmEntry, Volume,
};
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use recent::Recent;
use times::Started;

/// Keeps small texts over runs: how long imports took. Losing one costs a few requests.
#[async_trait]
pub trait Memory: Send + Sync {
    /// What was remembered under `key`.
    async fn recall(&self, key: &str) -> Option<String>;

    /// Remembers `value` under `key`.
    async fn remember(&self, key: &str, value: &str);
}

/// What a test or a bench gives of its own.
#[derive(Clone)]
pub struct Tuning {
    /// By which it waits.
    pub clock: Arc<dyn Clock>,
    /// Who is told of every request.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::new()), observer: None }
    }
}

/// One node of a Proxmox VE cluster, as a host of the inventory.
pub struct ProxmoxHost {
    name: HostName,
    settings: Settings,
    client: Client,
    /// The token's id, `user@realm!name`.
    token: String,
    memory: Arc<dyn Memory>,
    clock: Arc<dyn Clock>,
    /// Numbers that this process has chosen, of VMs that no list has yet.
    chosen: Mutex<Vec<u32>>,
    /// All VMs that the token may see.
    vms: Recent<Vec<VmEntry>>,
    /// The images on the image storage.
    images: Recent<Vec<Volume>>,
    /// Whose turn it is to import an image.
    imports: Semaphore,
    /// Whose VM each number was when this process last looked.
    seen: Mutex<HashMap<u32, Uuid>>,
    /// Guests that this process has started and not heard of yet.
    started: Mutex<HashMap<Uuid, Started>>,
}

/// Imports share a storage's bandwidth. A few at once keep it busy; more would all end at
/// the same late time, with everything that follows still to be done.
const IMPORTS: usize = 3;

impl ProxmoxHost {
    /// A host with the API token `token` (`user@realm!name=secret`); `ca` is the file of its
    /// certificate authority where it is recognised by one. Sends nothing yet.
    pub fn new(
        name: HostName,
        settings: Settings,
        token: &str,
        ca: Option<&Path>,
        memory: Arc<dyn Memory>,
    ) -> Result<Self, DriverError> {
        Self::tuned(name, settings, token, ca, memory, Tuning::default())
    }

    /// The same with somebody who is told of every request.
    pub fn observed(
        name: HostName,
        settings: Settings,
        token: &str,
        ca: Option<&Path>,
        memory: Arc<dyn Memory>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, DriverError> {
        Self::tuned(name, settings, token, ca, memory, Tuning { observer, ..Tuning::default() })
    }

    /// The same with a clock and a watcher of its own.
    pub fn tuned(
        name: HostName,
        settings: Settings,
        token: &str,
        ca: Option<&Path>,
        memory: Arc<dyn Memory>,
        tuning: Tuning,
    ) -> Result<Self, DriverError> {
        let wrong = || DriverError::new(DriverErrorKind::Invalid, format!("Host `{name}` cannot be used"));
        let endpoint = Endpoint::parse(&settings.endpoint).map_err(|error| {
            wrong().because(&error).hint(format!("See `hypervisor.endpoint` in hosts/{name}/host.toml"))
        })?;
        let trust = trust(&settings.tls, ca)
            .map_err(|error| error.hint(format!("See `hypervisor.tls` in hosts/{name}/host.toml")))?;
        let token: ApiToken = token.trim().parse().map_err(|error: proxmox_api::NotAToken| {
            wrong().because(&error).hint("A token reads `user@realm!name=secret`, as Proxmox shows it once")
        })?;
        let id = token.id().to_owned();
        let Tuning { clock, observer } = tuning;
        let mut options = Options::new(endpoint, trust, Credentials::Token(token)).with_clock(Arc::clone(&clock));
        if let Some(observer) = observer {
            options = options.with_observer(observer);
        }
        let client = Client::new(options)
            .map_err(|error| wrong().because(&error).hint(format!("See `hypervisor.tls` in hosts/{name}/host.toml")))?;
        Ok(Self {
            name,
            settings,
            client,
            token: id,
            memory,
            clock,
            chosen: Mutex::default(),
            vms: Recent::default(),
            images: Recent::default(),
            imports: Semaphore::new(IMPORTS),
            seen: Mutex::default(),
            started: Mutex::default(),
        })
    }

    fn node(&self) -> Node {
        self.client.node(self.settings.node.clone())
    }

    fn image_storage(&self) -> Storage {
        self.node().storage(self.settings.image_storage.clone())
    }

    /// All VMs that the token may see, as they were a moment ago.
    async fn recent_vms(&self) -> Result<Arc<Vec<VmEntry>>, proxmox_api::Error> {
        self.vms.get(self.clock.as_ref(), self.client.vms()).await
    }

    /// The VMs in our pool, on every node (an administrator may have moved one), as they
    /// were a moment ago.
    async fn entries(&self) -> Result<Vec<VmEntry>, proxmox_api::Error> {
        Ok(self.recent_vms().await?.iter().filter(|entry| self.is_in_pool(entry)).cloned().collect())
    }

    fn is_in_pool(&self, entry: &VmEntry) -> bool {
        entry.kind == "qemu" && entry.pool.as_deref() == Some(&self.settings.pool)
    }
}

#[async_trait]
impl Hypervisor for ProxmoxHost {
    async fn observe_image(&self, image: &Image) -> Result<Option<Image>, DriverError> {
        self.find_image(image).await
    }

    async fn ensure_image(&self, image: &Image, cx: &dyn StepContext) -> Result<Image, DriverError> {
        self.bring_image(image, cx).await
    }

    async fn remove_image(&self, image: &Image, _: &dyn StepContext) -> Result<(), DriverError> {
        self.delete_image(image).await
    }

    async fn images(&self) -> Result<Vec<StoredImage>, DriverError> {
        self.stored_images().await
    }

    async fn observe_vm(&self, vm: &Vm) -> Result<Option<Vm>, DriverError> {
        match self.find(vm).await? {
            Some(found) => Ok(Some(found.vm)),
            None => self.nothing_is_being_made(vm).await.map(|()| None),
        }
    }

    async fn vms(&self) -> Result<Vec<(DeploymentName, Vm)>, DriverError> {
        self.marked().await
    }

    async fn ensure_vm(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Vm, DriverError> {
        self.converge(vm, cx).await
    }

    async fn remove_vm(&self, vm: &Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.destroy(vm, cx).await
    }

    async fn read_guest_file(&self, vm: &Vm, path: &str, cx: &dyn StepContext) -> Result<Option<Vec<u8>>, DriverError> {
        let Some(vmid) = vm.vmid else { return Ok(None) };
        self.let_it_boot(vm, cx).await?;
        match self.node().vm(vmid).read_guest_file(path).await {
            Ok(file) => {
                self.has_booted(vm).await;
                Ok(file.map(|file| file.content))
            }
            Err(error) => {
                match error.class() {
                    Class::State(State::AgentSilent | State::Stopped) | Class::Transient | Class::NotSent => {
                        self.is_silent(vm).await;
                        Ok(None)
                    }
                    _ => Err(self
                        .fault(&error, format!("Failed to read `{path}` of VM `{}` through its agent", vm.deployment))),
                }
            }
        }
    }

    async fn examine(&self) -> Result<HypervisorReport, DriverError> {
        self.examined().await
    }
}

fn trust(tls: &Tls, ca: Option<&Path>) -> Result<Trust, DriverError> {
    let wrong = |what: String| DriverError::new(DriverErrorKind::Invalid, what);
    match (tls, ca) {
        (Tls::System, _) => Ok(Trust::System),
        (Tls::Fingerprints(texts), _) => {
            let parse = |text: &String| {
                text.parse::<Fingerprint>()
                    .map_err(|error| wrong(format!("`{text}` is no certificate fingerprint")).because(&error))
            };
            Ok(Trust::Fingerprints(texts.iter().map(parse).collect::<Result<_, _>>()?))
        }
        (Tls::Ca(_), Some(path)) => std::fs::read(path).map(Trust::Authority).map_err(|error| {
            wrong(format!("Failed to read the certificate authority `{}`", path.display())).because(&error)
        }),
        (Tls::Ca(file), None) => Err(wrong(format!("The certificate authority `{file}` leads to no file"))),
    }
}
