//! Proxmox VE 8.4 to 9.x.
//!
//! A VM is ours when its SMBIOS UUID is the journal's, its description carries our mark
//! and it lies in our pool; its number alone says nothing.

mod fault;
mod image;
mod machine;
mod mark;
mod removal;
mod rights;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, DriverErrorKind, Hypervisor, HypervisorReport, StepContext, StoredImage};
use fedi_model::inventory::{Hypervisor as Settings, Tls};
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::{Image, Vm};
use proxmox_api::{
    ApiToken, Class, Client, Credentials, Endpoint, Estimate, Fingerprint, History, Node, Observer, Options, State,
    Storage, Trust, VmEntry,
};
use tokio::sync::Mutex;

/// Keeps small texts over runs: how long imports took. Losing one costs a few requests.
#[async_trait]
pub trait Memory: Send + Sync {
    /// What was remembered under `key`.
    async fn recall(&self, key: &str) -> Option<String>;

    /// Remembers `value` under `key`.
    async fn remember(&self, key: &str, value: &str);
}

/// One node of a Proxmox VE cluster, as a host of the inventory.
pub struct ProxmoxHost {
    name: HostName,
    settings: Settings,
    client: Client,
    /// The token's id, `user@realm!name`.
    token: String,
    memory: Arc<dyn Memory>,
    /// Numbers that this process has chosen and not used yet.
    chosen: Mutex<Vec<u32>>,
}

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
        Self::observed(name, settings, token, ca, memory, None)
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
        let mut options = Options::new(endpoint, trust, Credentials::Token(token));
        if let Some(observer) = observer {
            options = options.with_observer(observer);
        }
        let client = Client::new(options).map_err(|error| wrong().because(&error))?;
        Ok(Self { name, settings, client, token: id, memory, chosen: Mutex::default() })
    }

    fn node(&self) -> Node {
        self.client.node(self.settings.node.clone())
    }

    fn image_storage(&self) -> Storage {
        self.node().storage(self.settings.image_storage.clone())
    }

    /// The VMs in our pool, on every node: an administrator may have moved one.
    async fn entries(&self) -> Result<Vec<VmEntry>, proxmox_api::Error> {
        let mut entries = self.client.vms().await?;
        entries.retain(|entry| entry.kind == "qemu" && entry.pool.as_deref() == Some(&self.settings.pool));
        Ok(entries)
    }

    /// How long `what` took before on this host.
    async fn estimate(&self, what: &str) -> Option<Estimate> {
        self.history().await.estimate(what)
    }

    async fn took(&self, what: &str, time: std::time::Duration) {
        let mut history = self.history().await;
        history.add(what, time);
        if let Ok(text) = serde_json::to_string(&history) {
            self.memory.remember(&self.history_key(), &text).await;
        }
    }

    async fn history(&self) -> History {
        let text = self.memory.recall(&self.history_key()).await;
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn history_key(&self) -> String {
        format!("proxmox-times {}", self.name)
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
        Ok(self.find(vm).await?.map(|found| found.vm))
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

    async fn read_guest_file(&self, vm: &Vm, path: &str, _: &dyn StepContext) -> Result<Option<Vec<u8>>, DriverError> {
        let Some(vmid) = vm.vmid else { return Ok(None) };
        match self.node().vm(vmid).read_guest_file(path).await {
            Ok(file) => Ok(file.map(|file| file.content)),
            Err(error) => {
                match error.class() {
                    Class::State(State::AgentSilent | State::Stopped) | Class::Transient | Class::NotSent => Ok(None),
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
