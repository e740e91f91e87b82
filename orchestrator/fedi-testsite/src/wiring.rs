//! The parts of a site put together as the program does it, out of what its folder says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedi_drivers::guest::SshAccess;
use fedi_drivers::hypervisor::{Memory, ProxmoxHost, Tuning};
use fedi_drivers::repository::{RepositorySettings, ResticRepositories, Way};
use fedi_drivers::secrets::AgeStore;
use fedi_drivers::site::{HostDrivers, Patience, Site, Vault};
use fedi_drivers::system::PrebuiltSystems;
use fedi_engine::drivers::{
    AddressBook, Dns, DriverError, DriverErrorKind, Hypervisor, Ledger, Repositories, SecretStore, SystemSource,
};
use fedi_engine::store::{SqliteStore, Store};
use fedi_engine::{AddressTable, Clock, SystemClock, World};
use fedi_inventory::Folder;
use fedi_model::inventory::Deployment;
use fedi_model::name::{DeploymentName, HostName, RepositoryName};
use fedi_model::resource::{Resource, ResourceId};
use fedi_workflow::Desk;
use proxmox_api::Observer;

use crate::clock::FastClock;
use crate::folder::Layout;
use crate::guest::{StandInGuests, StandInVault, is_stand_in};
use crate::outside::StandInOutside;
use crate::system::StandInSystems;
use crate::zone::StandInZone;

/// A site as one process has it.
pub struct Wiring {
    /// Where it is.
    pub layout: Layout,
    /// The inventory.
    pub folder: Arc<Folder>,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The world.
    pub site: Arc<Site>,
    /// The hypervisors by host.
    pub hypervisors: BTreeMap<HostName, Arc<ProxmoxHost>>,
    /// The store of secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// Who has which address.
    pub addresses: Arc<dyn AddressBook>,
    /// Where plans are made.
    pub desk: Desk,
    /// What is on the guests.
    pub guests: StandInGuests,
    /// The zones.
    pub zone: StandInZone,
}

/// How a site is put together.
pub struct Wires {
    /// How many times faster than real time the Proxmox client waits.
    pub speed: u32,
    /// How long things on guests may take.
    pub patience: Patience,
    /// Who sees every request to Proxmox.
    pub observer: Option<Arc<dyn Observer>>,
    /// DNS of all hosts, instead of the stand-in.
    pub dns: Option<Arc<dyn Dns>>,
    /// By which addresses rest.
    pub clock: Arc<dyn Clock>,
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            speed: 50,
            patience: Patience {
                boot: Duration::from_secs(2),
                confirm: Duration::from_secs(1),
                healthy: Duration::from_secs(1),
                lasting: Duration::from_secs(1),
            },
            observer: None,
            dns: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Wiring {
    /// Opens the site below `root`.
    pub fn open(root: &Path) -> Self {
        Self::with(root, Wires::default())
    }

    /// Opens it with other parts.
    pub fn with(root: &Path, wires: Wires) -> Self {
        let layout = Layout::at(root);
        let folder = match Folder::load(&layout.inventory(), layout.environment()) {
            Ok(folder) => Arc::new(folder),
            Err(error) => panic!("{error}"),
        };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&layout.state().join("state.db")).unwrap());
        let guests = StandInGuests::new(&layout.world());
        let zone = StandInZone::new(&layout.world());
        let age = Arc::new(AgeStore::new(
            folder.secrets_dir().unwrap(),
            folder.age_identity().unwrap(),
            folder.fedi().secrets.recipients.clone(),
        ));
        let secrets: Arc<dyn SecretStore> = age.clone();
        let vault = Vault { repositories: repositories(&layout, &folder, &guests, &secrets), seal: age };
        let addresses: Arc<dyn AddressBook> = Arc::new(AddressTable::new(store.clone(), wires.clock.clone()));
        let own_zone = wires.dns.is_none().then(|| zone.clone());
        let dns: Arc<dyn Dns> = wires.dns.unwrap_or_else(|| Arc::new(zone.clone()));
        let ssh = SshAccess::new(folder.ssh_key().unwrap());
        let clock = Arc::new(FastClock::new(wires.speed));
        let (mut hosts, mut systems, mut hypervisors) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, file) in &folder.inventory().hosts {
            let token = folder.credential(&file.hypervisor.token).unwrap();
            let memory = Arc::new(Remembered(store.clone()));
            let tuning = Tuning { clock: clock.clone(), observer: wires.observer.clone() };
            let made = ProxmoxHost::tuned(name.clone(), file.hypervisor.clone(), token.expose(), None, memory, tuning);
            let hypervisor = Arc::new(made.unwrap());
            let prebuilt = PrebuiltSystems::new(
                folder.system_folder(file).unwrap().expect("a folder of systems"),
                layout.state().join("systems"),
                None,
                ssh.clone(),
            );
            let source: Arc<dyn SystemSource> = Arc::new(StandInSystems::new(prebuilt, guests.clone()));
            hypervisors.insert(name.clone(), hypervisor.clone());
            systems.insert(name.clone(), source.clone());
            let hypervisor: Arc<dyn Hypervisor> = hypervisor;
            let drivers =
                HostDrivers { hypervisor, dns: dns.clone(), systems: source, host_key_pin: file.host_key_pin };
            hosts.insert(name.clone(), drivers);
        }
        let site = Site::new(
            hosts,
            addresses.clone(),
            secrets.clone(),
            Arc::new(guests.clone()),
            Arc::new(StoreLedger(store.clone())),
            Arc::new(StandInOutside { zone: own_zone, guests: guests.clone() }),
            vault.clone(),
        );
        let site = Arc::new(site.with_patience(wires.patience));
        let desk = Desk {
            folder: folder.clone(),
            store: store.clone(),
            world: site.clone() as Arc<dyn World>,
            addresses: addresses.clone(),
            secrets: secrets.clone(),
            repositories: vault.repositories.clone(),
            seal: vault.seal.clone(),
            systems,
        };
        Self { layout, folder, store, site, hypervisors, secrets, addresses, desk, guests, zone }
    }

    /// The world.
    pub fn world(&self) -> Arc<dyn World> {
        self.site.clone()
    }

    /// A deployment of the inventory.
    pub fn deployment(&self, name: &str) -> Deployment {
        self.folder.deployment(name).expect("a deployment of that name").clone()
    }

    /// What the journal says fedi made for it, by name.
    pub async fn ledger(&self, name: &str) -> Vec<String> {
        let name = DeploymentName::new(name).unwrap();
        let entries = self.store.ledger(Some(&name)).await.unwrap();
        entries.iter().map(|entry| entry.resource.id().to_string()).collect()
    }
}

/// How the operator's machine reaches the repositories of the inventory: through restic,
/// unless they are stand-ins.
fn repositories(
    layout: &Layout,
    folder: &Arc<Folder>,
    guests: &StandInGuests,
    secrets: &Arc<dyn SecretStore>,
) -> Arc<dyn Repositories> {
    let (folder, secrets) = (folder.clone(), secrets.clone());
    if folder.fedi().backups.values().all(|it| is_stand_in(&it.location)) {
        return Arc::new(StandInVault { repositories: guests.repositories.clone(), folder, secrets });
    }
    let settings = move |name: &RepositoryName| {
        let file = folder.fedi().backups.get(name).expect("a repository of the inventory");
        let way = Way { location: file.location.clone(), rest: None, s3: None, sftp: None };
        Ok(RepositorySettings {
            guest: way.clone(),
            operator: way,
            ca: None,
            keep: file.keep.into(),
            per_deployment: file.per_deployment,
        })
    };
    Arc::new(ResticRepositories::new(Arc::new(settings), secrets, layout.state().join("restic")))
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

/// How long imports took.
struct Remembered(Arc<dyn Store>);

#[async_trait]
impl Memory for Remembered {
    async fn recall(&self, key: &str) -> Option<String> {
        self.0.setting(key).await.ok()?
    }

    async fn remember(&self, key: &str, value: &str) {
        let _ = self.0.set_setting(key, Some(value)).await;
    }
}
