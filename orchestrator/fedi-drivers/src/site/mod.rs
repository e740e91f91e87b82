//! The world that plans act upon, built out of drivers.

mod guests;
mod healthy;
mod state;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::World;
use fedi_engine::drivers::{
    AddressBook, Dns, DriverError, DriverErrorKind, Facts, GuestAccess, HealthReport, Hypervisor, Ledger, OutsideProbe,
    Repositories, Seal, SecretKey, SecretStore, StepContext, SystemSource, run_tag,
};
use fedi_model::inventory::HostKeyPin;
use fedi_model::name::HostName;
use fedi_model::plan::{Probe, Task};
use fedi_model::resource::{
    Address, GuestRef, Lease, RecordSet, Records, Resource, ResourceId, Secret, SnapshotRef, Vm,
};

use crate::secrets::generate;

pub use guests::Guests;
pub use tasks::Patience;

/// The drivers of one host of the inventory.
#[derive(Clone)]
pub struct HostDrivers {
    /// Images and machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Zones.
    pub dns: Arc<dyn Dns>,
    /// Where systems come from.
    pub systems: Arc<dyn SystemSource>,
    /// How the key of a new guest is learned.
    pub host_key_pin: HostKeyPin,
}

/// Everything that plans of one inventory can act upon.
pub struct Site {
    hosts: BTreeMap<HostName, HostDrivers>,
    addresses: Arc<dyn AddressBook>,
    secrets: Arc<dyn SecretStore>,
    guests: Guests,
    ledger: Arc<dyn Ledger>,
    outside: Arc<dyn OutsideProbe>,
    vault: Vault,
    /// What was last read out of a snapshot, still encrypted.
    sealed: tokio::sync::Mutex<Option<(SnapshotRef, Vec<u8>)>>,
    patience: Patience,
}

/// Where snapshots are kept, and what seals the secrets that travel with them.
#[derive(Clone)]
pub struct Vault {
    /// Repositories.
    pub repositories: Arc<dyn Repositories>,
    /// Encrypts to the operator.
    pub seal: Arc<dyn Seal>,
}

impl Site {
    /// Puts the drivers together.
    pub fn new(
        hosts: BTreeMap<HostName, HostDrivers>,
        addresses: Arc<dyn AddressBook>,
        secrets: Arc<dyn SecretStore>,
        guests: Arc<dyn GuestAccess>,
        ledger: Arc<dyn Ledger>,
        outside: Arc<dyn OutsideProbe>,
        vault: Vault,
    ) -> Self {
        let guests = Guests::new(guests, Arc::clone(&ledger));
        Self {
            hosts,
            addresses,
            secrets,
            guests,
            ledger,
            outside,
            vault,
            sealed: tokio::sync::Mutex::default(),
            patience: Patience::default(),
        }
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The drivers of `host`.
    pub fn host(&self, host: &HostName) -> Result<&HostDrivers, DriverError> {
        self.hosts
            .get(host)
            .ok_or_else(|| DriverError::new(DriverErrorKind::Invalid, format!("The inventory has no host `{host}`")))
    }

    /// The guest as it describes itself; `None` while fedi has no key pinned for it.
    pub async fn facts(&self, guest: &GuestRef) -> Result<Option<Facts>, DriverError> {
        self.guests.facts(guest).await
    }

    /// Looks once, from inside and from outside.
    pub async fn health(&self, probe: &Probe) -> HealthReport {
        let (mut inside, outside) = tokio::join!(self.guests.health(probe), self.outside.probe(probe));
        inside.checks.extend(outside.checks);
        inside
    }

    /// The VM under the number that the ledger has for it: lists, and the names in them, are
    /// for what the ledger does not know. Whether the number is still its own is asked of
    /// its UUID.
    async fn numbered(&self, vm: &Vm) -> Result<Vm, DriverError> {
        let known = match self.ledger.made(&ResourceId::vm(&vm.deployment)).await? {
            Some(Resource::Vm(made)) if made.uuid == vm.uuid && made.host == vm.host => made.vmid,
            _ => None,
        };
        Ok(Vm { vmid: vm.vmid.or(known), ..vm.clone() })
    }

    async fn seen_vm(&self, vm: &Vm) -> Result<Option<Vm>, DriverError> {
        self.host(&vm.host)?.hypervisor.observe_vm(vm).await
    }

    /// One that is there is changed where it is; a number that was its own is none for a new
    /// one.
    async fn ensure_vm(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Vm, DriverError> {
        let numbered = self.numbered(vm).await?;
        let is_there = numbered.vmid.is_some() && self.seen_vm(&numbered).await?.is_some();
        self.host(&vm.host)?.hypervisor.ensure_vm(if is_there { &numbered } else { vm }, cx).await
    }

    /// The address as the ledger has it, while it is held. One that is merely held for a
    /// plan is not there yet: taking the plan back lets it go.
    async fn held(&self, id: &ResourceId, like: &Address) -> Result<Option<Address>, DriverError> {
        let Some(Resource::Address(made)) = self.ledger.made(id).await? else { return Ok(None) };
        Ok(self.addresses.find(&like.deployment, &like.host, like.family).await?.map(|_| made))
    }

    /// Records as the ledger has them: what fedi owns in that zone.
    async fn owned(&self, id: &ResourceId) -> Result<Option<Records>, DriverError> {
        Ok(match self.ledger.made(id).await? {
            Some(Resource::Records(records)) => Some(records),
            _ => None,
        })
    }

    /// Takes the right to run from a guest. One that is gone has none; one that is merely
    /// off keeps it on its disk.
    async fn revoke(&self, lease: &Lease) -> Result<(), DriverError> {
        let error = match self.guests.revoke(lease).await {
            Err(error) if error.kind == DriverErrorKind::Unavailable => error,
            result => return result,
        };
        let guest = &lease.guest;
        let vm = match self.ledger.made(&ResourceId::vm(&guest.deployment)).await? {
            Some(Resource::Vm(vm)) if vm.uuid == guest.uuid => self.host(&vm.host)?.hypervisor.observe_vm(&vm).await?,
            _ => None,
        };
        match vm {
            None => Ok(()),
            Some(vm) if vm.running => Err(error),
            Some(_) => {
                let name = &guest.deployment;
                Err(error.cause("Its VM is stopped").hint(format!(
                    "Start the VM, or end this run with `fedi run abandon` and begin anew with `fedi destroy {name}`"
                )))
            }
        }
    }

    async fn ensure_secret(&self, secret: &Secret) -> Result<Resource, DriverError> {
        let key =
            SecretKey { deployment: secret.deployment.clone(), app: secret.app.clone(), name: secret.name.clone() };
        if let Some(entry) = self.secrets.entry(&key).await? {
            return Ok(Resource::Secret(Secret { version: Some(entry.version), ..secret.clone() }));
        }
        if let Some(snapshot) = &secret.from {
            return self.recover(secret, &key, snapshot).await;
        }
        let other = match &secret.generator {
            fedi_model::manifest::Generator::RsaPublicKey { of } => {
                self.secrets.get(&SecretKey { name: of.clone(), ..key.clone() }).await?.map(|(value, _)| value)
            }
            _ => None,
        };
        let generator = secret.generator.clone();
        let value = tokio::task::spawn_blocking(move || generate(&generator, |_| other))
            .await
            .map_err(|error| failed_secret(&key).because(&error))?
            .map_err(|error| {
                failed_secret(&key)
                    .because(&error)
                    .hint(format!("Set it with `fedi secret set {} {}`", key.deployment, key.name))
            })?;
        let version = self.secrets.put(&key, secret.class, &secret.generator, &value, 0).await?;
        Ok(Resource::Secret(Secret { version: Some(version), ..secret.clone() }))
    }
}

/// The records, with pairs that are wanted no more: they are part of how things were, and
/// taking back a change brings them back.
fn with_pairs_of(records: &Records, owned: Option<&Records>) -> Records {
    let mut whole = records.clone();
    let others = owned.into_iter().flat_map(|owned| &owned.sets);
    let wanted = |set: &RecordSet| records.sets.iter().any(|other| other.name == set.name && other.kind == set.kind);
    whole.sets.extend(others.filter(|set| !wanted(set)).cloned());
    whole
}

fn failed_secret(key: &SecretKey) -> DriverError {
    DriverError::new(DriverErrorKind::Invalid, format!("Failed to make the secret `{key}`"))
}

#[async_trait]
impl World for Site {
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        Ok(match like {
            Resource::Address(it) => self.held(&like.id(), it).await?.map(Resource::Address),
            Resource::Secret(it) => {
                let key = SecretKey { deployment: it.deployment.clone(), app: it.app.clone(), name: it.name.clone() };
                self.secrets.entry(&key).await?.map(|entry| {
                    Resource::Secret(Secret {
                        class: entry.class,
                        generator: entry.generator,
                        version: Some(entry.version),
                        ..it.clone()
                    })
                })
            }
            Resource::Image(it) => self.host(&it.host)?.hypervisor.observe_image(it).await?.map(Resource::Image),
            Resource::Vm(it) => self.seen_vm(&self.numbered(it).await?).await?.map(Resource::Vm),
            Resource::HostKey(_) => self.ledger.made(&like.id()).await?,
            Resource::Records(it) => {
                let whole = with_pairs_of(it, self.owned(&like.id()).await?.as_ref());
                self.host(&it.host)?.dns.observe(&whole).await?.map(Resource::Records)
            }
            Resource::Delivery(_) | Resource::Lease(_) | Resource::System(_) => self.guests.observe(like).await?,
            Resource::State(it) => self.observe_state(it).await?.map(Resource::State),
            Resource::Service(it) => self.observe_service(it).await?.map(Resource::Service),
            Resource::Backups(it) => self.observe_backups(it).await?,
        })
    }

    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError> {
        Ok(match desired {
            Resource::Address(it) => Resource::Address(self.addresses.ensure(it).await?),
            Resource::Secret(it) => self.ensure_secret(it).await?,
            Resource::Image(it) => Resource::Image(self.host(&it.host)?.hypervisor.ensure_image(it, cx).await?),
            Resource::Vm(it) => Resource::Vm(self.ensure_vm(it, cx).await?),
            Resource::HostKey(it) => Resource::HostKey(self.pin(it, cx).await?),
            Resource::Records(it) => {
                let owned = self.owned(&desired.id()).await?;
                Resource::Records(self.host(&it.host)?.dns.ensure(it, owned.as_ref(), cx).await?)
            }
            Resource::Delivery(it) => Resource::Delivery(self.guests.deliver(it, self.secrets.as_ref()).await?),
            Resource::Lease(it) => {
                self.grant(it, cx).await?;
                desired.clone()
            }
            Resource::State(it) => {
                self.restore_state(it, cx).await?;
                desired.clone()
            }
            Resource::Backups(it) => {
                self.configure_backups(it).await?;
                desired.clone()
            }
            Resource::Service(it) => {
                self.resume(it, cx).await?;
                desired.clone()
            }
            Resource::System(it) => {
                self.activate(it, cx).await?;
                desired.clone()
            }
        })
    }

    async fn remove(&self, resource: &Resource, cx: &dyn StepContext) -> Result<(), DriverError> {
        match resource {
            Resource::Address(it) => self.addresses.release(it).await,
            Resource::Secret(it) => {
                let key = SecretKey { deployment: it.deployment.clone(), app: it.app.clone(), name: it.name.clone() };
                self.secrets.delete(&key).await
            }
            Resource::Image(it) => self.host(&it.host)?.hypervisor.remove_image(it, cx).await,
            Resource::Vm(it) => {
                self.guests.forget(&it.uuid).await;
                self.host(&it.host)?.hypervisor.remove_vm(it, cx).await
            }
            // The pin is the ledger's entry, which goes with this step. What is on the
            // guest goes with its disks.
            Resource::HostKey(_) | Resource::Delivery(_) | Resource::System(_) | Resource::State(_) => Ok(()),
            Resource::Service(it) => self.pause(it, cx).await,
            Resource::Backups(it) => self.forget_backups(it).await,
            Resource::Records(it) => {
                let dns = &self.host(&it.host)?.dns;
                match self.owned(&resource.id()).await? {
                    Some(owned) => dns.remove(&owned, cx).await,
                    None => dns.take_back(it, cx).await,
                }
            }
            Resource::Lease(it) => self.revoke(it).await,
        }
    }

    async fn run(&self, task: &Task, cx: &dyn StepContext) -> Result<(), DriverError> {
        match task {
            Task::AwaitGuest { guest } => self.await_guest(guest, cx).await,
            Task::AwaitRecords { records } => self.host(&records.host)?.dns.await_visible(records, cx).await,
            Task::Restart { guest, app } => self.guests.restart(guest, app, cx).await,
            Task::Capture { guest, app, repository, consistency, key, fail_safe } => {
                self.capture(guest, app, repository, *consistency, run_tag(*key, *fail_safe), cx).await
            }
            Task::RecordProof { snapshot } => self.record_proof(snapshot, cx).await,
            Task::Rehome { guest, unit } => self.rehome(guest, unit, cx).await,
            Task::Rebuild { guest, item, unit } => self.rebuild(guest, item, unit, cx).await,
            Task::CreateAdmin { guest, app, admin } => self.create_admin(guest, app, admin, cx).await,
            Task::Probe { probe } => self.probe_until_healthy(probe, cx).await,
        }
    }
}
