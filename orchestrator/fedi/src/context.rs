//! What commands work with: the inventory, the journal, and the drivers. The one place
//! that names concrete drivers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_drivers::dns::{ManualDns, OctodnsDns};
use fedi_drivers::guest::SshAccess;
use fedi_drivers::health::HttpsProbe;
use fedi_drivers::hypervisor::ProxmoxHost;
use fedi_drivers::secrets::AgeStore;
use fedi_drivers::site::{HostDrivers, Site};
use fedi_drivers::system::{NixSystems, PrebuiltSystems};
use fedi_engine::drivers::{
    AddressBook, Dns, DriverError, DriverErrorKind, Hypervisor, Ledger, SecretStore, SystemSource,
};
use fedi_engine::store::{SqliteStore, Store};
use fedi_engine::{AddressTable, Engine, Observer, SystemClock};
use fedi_inventory::{Environment, Folder};
use fedi_model::inventory::{DnsDriver, HostFile, HypervisorDriver, SecretDriver, SystemDriver};
use fedi_model::name::HostName;
use fedi_model::resource::{Resource, ResourceId};
use fedi_workflow::Desk;

use crate::cli::Global;
use crate::error::CommandError;
use crate::ui::Ui;

/// An opened inventory.
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) folder: Arc<Folder>,
}

/// The journal and all drivers.
pub(crate) struct Workshop {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) site: Arc<Site>,
    pub(crate) secrets: Arc<dyn SecretStore>,
    pub(crate) desk: Desk,
}

impl Context {
    /// Reads the inventory.
    pub(crate) fn open(global: &Global, ui: Ui) -> Result<Self, CommandError> {
        let start = match &global.inventory {
            Some(folder) => folder.clone(),
            None => std::env::current_dir()?,
        };
        let root = if global.inventory.is_some() { start } else { Folder::find(&start)? };
        let folder = Folder::load(&root, Environment::of_process())?;
        Ok(Self { ui, folder: Arc::new(folder) })
    }

    /// Opens the journal.
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, CommandError> {
        let path = self.folder.state_dir()?.join("state.db");
        Ok(Arc::new(SqliteStore::open(&path)?))
    }

    /// The store of secrets.
    pub(crate) fn secrets(&self) -> Result<Arc<dyn SecretStore>, CommandError> {
        match self.folder.fedi().secrets.driver {
            SecretDriver::Age => Ok(Arc::new(AgeStore::new(
                self.folder.secrets_dir()?,
                self.folder.age_identity()?,
                self.folder.fedi().secrets.recipients.clone(),
            ))),
        }
    }

    /// The hypervisor of one host.
    pub(crate) fn hypervisor(
        &self,
        name: &HostName,
        host: &HostFile,
        store: &Arc<dyn Store>,
    ) -> Result<Arc<dyn Hypervisor>, CommandError> {
        let settings = &host.hypervisor;
        match settings.driver {
            HypervisorDriver::Proxmox => {
                let token = self.folder.credential(&settings.token)?;
                let ca = self.folder.ca_file(&settings.tls)?;
                let history = Arc::new(Remembered(Arc::clone(store)));
                Ok(Arc::new(ProxmoxHost::new(name.clone(), settings.clone(), token.expose(), ca.as_deref(), history)?))
            }
        }
    }

    /// The zones of one host.
    pub(crate) fn dns(&self, name: &HostName, host: &HostFile) -> Result<Arc<dyn Dns>, CommandError> {
        match host.dns.driver {
            DnsDriver::Manual => Ok(Arc::new(ManualDns::new(name.clone(), host.dns.clone()))),
            DnsDriver::Octodns => {
                let mut secrets = BTreeMap::new();
                for (provider, settings) in &host.dns.providers {
                    for (setting, credential) in &settings.secrets {
                        let text = self.folder.credential(credential)?;
                        secrets.insert((provider.clone(), setting.clone()), text.expose().to_owned());
                    }
                }
                Ok(Arc::new(OctodnsDns::new(name.clone(), host.dns.clone(), secrets, cache_dir()?)))
            }
        }
    }

    fn systems(&self, host: &HostFile, ssh: &SshAccess) -> Result<Arc<dyn SystemSource>, CommandError> {
        match host.system.driver {
            SystemDriver::Nix => Ok(Arc::new(NixSystems::new(self.folder.root().to_owned(), ssh.clone()))),
            SystemDriver::Prebuilt => {
                let Some(folder) = self.folder.system_folder(host)? else {
                    return Err(CommandError::refused("`system.driver = \"prebuilt\"` needs `system.folder`"));
                };
                let cache = self.folder.state_dir()?.join("systems");
                let email = self.folder.fedi().operator.email.clone();
                Ok(Arc::new(PrebuiltSystems::new(folder, cache, email, ssh.clone())))
            }
        }
    }

    /// Opens the journal and makes the drivers of the given hosts. A host that cannot be
    /// used (no credential, no CA file) fails only what needs it.
    pub(crate) fn workshop(&self, hosts: &[&HostName]) -> Result<Workshop, CommandError> {
        let store = self.store()?;
        let secrets = self.secrets()?;
        let ssh = SshAccess::new(self.folder.ssh_key()?);
        let ledger: Arc<dyn Ledger> = Arc::new(StoreLedger(Arc::clone(&store)));
        let addresses: Arc<dyn AddressBook> = Arc::new(AddressTable::new(Arc::clone(&store), Arc::new(SystemClock)));
        let (mut drivers, mut systems, mut zones) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for name in hosts {
            let (name, host) = self.folder.host(name.as_str())?;
            let made = HostDrivers {
                hypervisor: self.hypervisor(name, host, &store)?,
                dns: self.dns(name, host)?,
                systems: self.systems(host, &ssh)?,
                host_key_pin: host.host_key_pin,
            };
            systems.insert(name.clone(), Arc::clone(&made.systems));
            zones.insert(name.clone(), Arc::clone(&made.dns));
            drivers.insert(name.clone(), made);
        }
        let outside = Arc::new(HttpsProbe::new(zones));
        let site =
            Arc::new(Site::new(drivers, Arc::clone(&addresses), Arc::clone(&secrets), Arc::new(ssh), ledger, outside));
        let desk = Desk {
            folder: Arc::clone(&self.folder),
            store: Arc::clone(&store),
            world: Arc::clone(&site) as Arc<dyn fedi_engine::World>,
            addresses,
            systems,
        };
        Ok(Workshop { store, site, secrets, desk })
    }
}

impl Workshop {
    /// An engine on this journal and world.
    pub(crate) fn engine(&self, observer: Arc<dyn Observer>) -> Engine {
        let world = Arc::clone(&self.site) as Arc<dyn fedi_engine::World>;
        Engine::new(Arc::clone(&self.store), world, Arc::new(SystemClock), observer)
    }
}

/// `$XDG_CACHE_HOME/fedi`: what can be made again.
pub(crate) fn cache_dir() -> Result<PathBuf, CommandError> {
    let environment = Environment::of_process();
    if let Some(folder) = environment.variable("FEDI_CACHE_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let base = match environment.variable("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => environment.resolve(std::path::Path::new("/"), "~/.cache")?,
    };
    Ok(base.join("fedi"))
}

/// The journal as drivers may see it.
struct StoreLedger(Arc<dyn Store>);

#[async_trait]
impl Ledger for StoreLedger {
    async fn made(&self, id: &ResourceId) -> Result<Option<Resource>, DriverError> {
        match self.0.ledger_entry(id).await {
            Ok(entry) => Ok(entry.map(|entry| entry.resource)),
            Err(error) => Err(DriverError::new(DriverErrorKind::Failed, "Failed to read the journal").because(&error)),
        }
    }
}

/// How long imports took, for polling at the right time.
struct Remembered(Arc<dyn Store>);

#[async_trait]
impl fedi_drivers::hypervisor::Memory for Remembered {
    async fn recall(&self, key: &str) -> Option<String> {
        self.0.setting(key).await.ok()?
    }

    async fn remember(&self, key: &str, value: &str) {
        // Only a hint for the next time: losing it costs a few requests.
        let _ = self.0.set_setting(key, Some(value)).await;
    }
}
