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
use fedi_drivers::repository::ResticRepositories;
use fedi_drivers::secrets::AgeStore;
use fedi_drivers::site::{HostDrivers, Site, Vault};
use fedi_drivers::system::{NixSystems, PrebuiltSystems};
use fedi_engine::drivers::{
    AddressBook, Dns, DriverError, DriverErrorKind, Hypervisor, Ledger, Seal, SecretStore, SystemSource,
};
use fedi_engine::store::{SqliteStore, Store};
use fedi_engine::{AddressTable, Engine, Observer, SystemClock};
use fedi_inventory::{Environment, Folder};
use fedi_model::inventory::{Deployment, DnsDriver, HostFile, HypervisorDriver, SecretDriver, SystemDriver};
use fedi_model::name::{DeploymentName, HostName, RepositoryName};
use fedi_model::resource::{Resource, ResourceId};
use fedi_model::run::RunId;
use fedi_workflow::Desk;

use crate::cli::Global;
use crate::error::CommandError;
use crate::repositories;
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
    /// Hosts that cannot be used, and why.
    pub(crate) unusable: BTreeMap<HostName, CommandError>,
}

impl Context {
    /// Reads the inventory.
    pub(crate) fn open(global: &Global, ui: Ui) -> Result<Self, CommandError> {
        let start = match &global.inventory {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::current_dir()?,
        };
        let folder = Folder::load(&Folder::find(&start)?, Environment::of_process())?;
        Ok(Self { ui, folder: Arc::new(folder) })
    }

    /// The deployment of that name, or what could have been meant.
    pub(crate) fn deployment(&self, name: &str) -> Result<&Deployment, CommandError> {
        let known = self.folder.inventory().deployments.keys().map(DeploymentName::as_str);
        let hint = || fedi_inventory::suggestion(name, known).unwrap_or_else(|| "`fedi status` lists them".to_owned());
        self.folder.deployment(name).map_err(|unknown| CommandError::refused(unknown.to_string()).hint(hint()))
    }

    /// The deployments of these names; all of them if there is none.
    pub(crate) fn deployments(&self, names: &[String]) -> Result<Vec<&Deployment>, CommandError> {
        if names.is_empty() {
            return Ok(self.folder.inventory().deployments.values().collect());
        }
        names.iter().map(|name| self.deployment(name)).collect()
    }

    /// The hosts of that name; all of them without one.
    pub(crate) fn hosts(&self, name: Option<&str>) -> Result<Vec<(&HostName, &HostFile)>, CommandError> {
        match name {
            Some(name) => Ok(vec![self.folder.host(name)?]),
            None => Ok(self.folder.inventory().hosts.iter().collect()),
        }
    }

    /// Opens the journal.
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, CommandError> {
        let path = self.folder.state_dir()?.join("state.db");
        Ok(Arc::new(SqliteStore::open(&path)?))
    }

    /// The store of secrets.
    pub(crate) fn secrets(&self) -> Result<Arc<dyn SecretStore>, CommandError> {
        Ok(self.age()?)
    }

    /// What encrypts to the operator's keys.
    pub(crate) fn seal(&self) -> Result<Arc<dyn Seal>, CommandError> {
        Ok(self.age()?)
    }

    fn age(&self) -> Result<Arc<AgeStore>, CommandError> {
        match self.folder.fedi().secrets.driver {
            SecretDriver::Age => Ok(Arc::new(AgeStore::new(
                self.folder.secrets_dir()?,
                self.folder.age_identity()?,
                self.folder.fedi().secrets.recipients.clone(),
            ))),
        }
    }

    /// Repositories of snapshots; credentials are read when they are needed.
    fn vault(&self) -> Result<Vault, CommandError> {
        let folder = Arc::clone(&self.folder);
        let settings = Arc::new(move |name: &RepositoryName| repositories::settings(&folder, name));
        let cache = cache_dir()?.join("restic");
        let repositories = Arc::new(ResticRepositories::new(settings, self.secrets()?, cache));
        Ok(Vault { repositories, seal: self.age()? })
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

    /// Where the systems of one host come from.
    pub(crate) fn systems(&self, host: &HostFile) -> Result<Arc<dyn SystemSource>, CommandError> {
        let ssh = SshAccess::new(self.folder.ssh_key()?);
        match host.system.driver {
            SystemDriver::Nix => Ok(Arc::new(NixSystems::new(self.folder.root().to_owned(), ssh))),
            SystemDriver::Prebuilt => {
                let Some(folder) = self.folder.system_folder(host)? else {
                    return Err(CommandError::refused("`system.driver = \"prebuilt\"` needs `system.folder`"));
                };
                let cache = self.folder.state_dir()?.join("systems");
                let email = self.folder.fedi().operator.email.clone();
                Ok(Arc::new(PrebuiltSystems::new(folder, cache, email, ssh)))
            }
        }
    }

    /// Version of the Nix that builds systems.
    pub(crate) async fn nix_version(&self) -> Result<String, CommandError> {
        let ssh = SshAccess::new(self.folder.ssh_key()?);
        Ok(NixSystems::new(self.folder.root().to_owned(), ssh).version().await?)
    }

    fn drivers(&self, name: &HostName, host: &HostFile, store: &Arc<dyn Store>) -> Result<HostDrivers, CommandError> {
        Ok(HostDrivers {
            hypervisor: self.hypervisor(name, host, store)?,
            dns: self.dns(name, host)?,
            systems: self.systems(host)?,
            host_key_pin: host.host_key_pin,
        })
    }

    /// Opens the journal and makes the drivers of one host.
    pub(crate) fn workshop(&self, host: &HostName) -> Result<Workshop, CommandError> {
        let mut workshop = self.workshop_of([host])?;
        match workshop.unusable.remove(host) {
            Some(error) => Err(error),
            None => Ok(workshop),
        }
    }

    /// Opens the journal and makes the drivers of several hosts. One that cannot be used
    /// (no credential, no CA file) does not keep the others from being used.
    pub(crate) fn workshop_of<'a>(
        &self,
        hosts: impl IntoIterator<Item = &'a HostName>,
    ) -> Result<Workshop, CommandError> {
        let store = self.store()?;
        let secrets = self.secrets()?;
        let vault = self.vault()?;
        let ssh = SshAccess::new(self.folder.ssh_key()?);
        let ledger: Arc<dyn Ledger> = Arc::new(StoreLedger(Arc::clone(&store)));
        let addresses: Arc<dyn AddressBook> = Arc::new(AddressTable::new(Arc::clone(&store), Arc::new(SystemClock)));
        let (mut drivers, mut systems, mut zones) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut unusable = BTreeMap::new();
        for name in hosts {
            let (name, host) = self.folder.host(name.as_str())?;
            match self.drivers(name, host, &store) {
                Ok(made) => {
                    systems.insert(name.clone(), Arc::clone(&made.systems));
                    zones.insert(name.clone(), Arc::clone(&made.dns));
                    drivers.insert(name.clone(), made);
                }
                Err(error) => {
                    unusable.insert(name.clone(), error);
                }
            }
        }
        let outside = Arc::new(HttpsProbe::new(zones));
        let site = Arc::new(Site::new(
            drivers,
            Arc::clone(&addresses),
            Arc::clone(&secrets),
            Arc::new(ssh),
            ledger,
            outside,
            vault.clone(),
        ));
        let desk = Desk {
            folder: Arc::clone(&self.folder),
            store: Arc::clone(&store),
            world: Arc::clone(&site) as Arc<dyn fedi_engine::World>,
            addresses,
            secrets: Arc::clone(&secrets),
            repositories: vault.repositories,
            seal: vault.seal,
            systems,
        };
        Ok(Workshop { store, site, secrets, desk, unusable })
    }
}

impl Workshop {
    /// Refuses a deployment whose host cannot be used.
    pub(crate) fn usable(&self, host: &HostName) -> Result<(), CommandError> {
        self.unusable.get(host).cloned().map_or(Ok(()), Err)
    }

    /// Refuses to plan where a run is not finished.
    pub(crate) async fn no_open_run(&self, name: &DeploymentName) -> Result<(), CommandError> {
        let Some(run) = self.desk.open_run(name).await?.map(|run| run.id) else { return Ok(()) };
        let pivoted = fedi_engine::load(self.store.as_ref(), run).await?.pivoted;
        Err(CommandError::refused(format!("Run {run} of `{name}` is not finished")).hint(ways_on(run, pivoted)))
    }

    /// An engine on this journal and world.
    pub(crate) fn engine(&self, observer: Arc<dyn Observer>) -> Engine {
        let world = Arc::clone(&self.site) as Arc<dyn fedi_engine::World>;
        Engine::new(Arc::clone(&self.store), world, Arc::new(SystemClock), observer)
    }
}

/// What can be done about a run that is not over.
pub(crate) fn ways_on(run: RunId, pivoted: bool) -> String {
    if pivoted {
        format!("Go on with `fedi run resume {run}`, or leave things as they are with `fedi run abandon {run}`")
    } else {
        format!("Go on with `fedi run resume {run}`, or take it back with `fedi run undo {run}`")
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
