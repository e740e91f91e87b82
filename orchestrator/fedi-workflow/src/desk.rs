//! Where plans are prepared: the inventory, the journal and the world in one hand.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use fedi_engine::World;
use fedi_engine::drivers::{
    AddressBook, AddressRequest, DriverError, DriverErrorKind, Repositories, Seal, SecretStore, SystemSource,
};
use fedi_engine::store::{RunRow, Store};
use fedi_inventory::Folder;
use fedi_model::inventory::Deployment;
use fedi_model::manifest::{App, Manifest};
use fedi_model::name::{DeploymentName, Domain, HostName};
use fedi_model::plan::{Plan, Probe};
use fedi_model::resource::{Address, Family, GuestRef, RecordSet, Records, Resource, ResourceId, Secret};
use fedi_plan::{DeployInputs, DestroyInputs, Known, PlanError, Refusal, SystemInput};
use futures::stream::{self, StreamExt};
use uuid::Uuid;

use crate::WorkflowError;
use crate::image::image;
use crate::look::{self, GuestState};
use crate::remembered::Purpose;

/// Prepares plans.
pub struct Desk {
    /// The inventory.
    pub folder: Arc<Folder>,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The world.
    pub world: Arc<dyn World>,
    /// Who has which address.
    pub addresses: Arc<dyn AddressBook>,
    /// The store of secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// Repositories of snapshots.
    pub repositories: Arc<dyn Repositories>,
    /// Opens the secrets that travel with snapshots.
    pub seal: Arc<dyn Seal>,
    /// Where systems come from, by host.
    pub systems: BTreeMap<HostName, Arc<dyn SystemSource>>,
}

/// How many previews go on at once.
const AT_ONCE: usize = 16;

/// A plan with what it was made from.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What is to be done.
    pub plan: Plan,
    /// What was seen and what the journal says.
    pub known: Known,
    /// How the guest is.
    pub guest: GuestState,
    /// What the system declares.
    pub app: App,
    /// What makes the deployment healthy.
    pub probe: Probe,
    /// Addresses that are held for this plan and were not held before.
    fresh: Vec<Address>,
}

impl Desk {
    /// Plans to bring a deployment to what its files say. Addresses and the VM's UUID are
    /// held for the plan; it is to be carried out or given up.
    pub async fn deploy(&self, deployment: &Deployment) -> Result<Prepared, WorkflowError> {
        let ledger = self.ledger(&deployment.name).await?;
        let resolved = self.system(&deployment.host)?.resolve(deployment).await?;
        let (addresses, fresh) = self.reserve(deployment, &ledger).await?;
        let prepared = self.prepare(deployment, ledger, &resolved, addresses, &fresh, Purpose::CarryOut).await;
        if prepared.is_err() {
            self.release(&fresh).await?;
        }
        prepared
    }

    /// Plans the same only to tell of it: nothing is held and nothing is written, so what
    /// others take meanwhile may change it.
    pub async fn preview(&self, deployment: &Deployment) -> Result<Prepared, WorkflowError> {
        let ledger = self.ledger(&deployment.name).await?;
        let resolved = self.system(&deployment.host)?.resolve(deployment).await?;
        let addresses = self.peek(deployment, &ledger).await?;
        self.prepare(deployment, ledger, &resolved, addresses, &[], Purpose::Tell).await
    }

    /// Previews of several, in their order, a few at once.
    pub async fn previews(&self, deployments: &[&Deployment]) -> Vec<Result<Prepared, WorkflowError>> {
        stream::iter(deployments).map(|deployment| self.preview(deployment)).buffered(AT_ONCE).collect().await
    }

    async fn prepare(
        &self,
        deployment: &Deployment,
        ledger: BTreeMap<ResourceId, Resource>,
        resolved: &fedi_engine::drivers::Resolved,
        addresses: Vec<Address>,
        fresh: &[Address],
        purpose: Purpose,
    ) -> Result<Prepared, WorkflowError> {
        let taken = self.taken(deployment);
        let inputs = self.inputs(deployment, &ledger, resolved, addresses, &taken, purpose).await?;
        let uuid = inputs.uuid;
        let inputs = DeployInputs {
            admin_made: self.admin_made(&deployment.name, &ledger, uuid, purpose).await?,
            backups: self.backups_of(deployment).await?,
            ..inputs
        };
        let mut known = Known { ledger, ..Known::default() };
        // Which files belong on the guest depends on which secrets there are.
        let mut wanted = fedi_plan::desired(&inputs, &known)?;
        wanted.retain(|resource| matches!(resource, Resource::Secret(_)));
        look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let mut wanted = fedi_plan::desired(&inputs, &known)?;
        wanted.retain(|resource| !matches!(resource, Resource::Secret(_)));
        let guest = look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let plan = match fedi_plan::plan_deploy(&inputs, &known) {
            Ok(plan) => plan,
            Err(refused) => return Err(self.with_owners(refused).await?.into()),
        };
        let app = app_of(&resolved.manifest, deployment)?;
        let probe = probe(deployment, &app, uuid, &wanted);
        Ok(Prepared { plan, known, guest, app, probe, fresh: fresh.to_vec() })
    }

    /// What every plan that brings a deployment up is told: nothing to recover, no
    /// administrator to make, no backups by the guest itself.
    pub(crate) async fn inputs<'a>(
        &'a self,
        deployment: &'a Deployment,
        ledger: &BTreeMap<ResourceId, Resource>,
        resolved: &'a fedi_engine::drivers::Resolved,
        addresses: Vec<Address>,
        taken: &'a BTreeMap<Domain, DeploymentName>,
        purpose: Purpose,
    ) -> Result<DeployInputs<'a>, WorkflowError> {
        let (host_name, host) = self.folder.host(deployment.host.as_str())?;
        let uuid = self.uuid(&deployment.name, ledger, purpose).await?;
        self.no_vm_is_on_its_way(&deployment.name, ledger).await?;
        Ok(DeployInputs {
            deployment,
            host,
            system: SystemInput {
                source: &resolved.source,
                toplevel: &resolved.toplevel,
                manifest: &resolved.manifest,
            },
            image: image(&self.folder, host_name, self.store.as_ref()).await?,
            addresses,
            uuid,
            epoch: self.epoch(&deployment.name, ledger, purpose).await?,
            authorized_keys: self.authorized_keys()?,
            taken,
            admin_made: true,
            recovered: BTreeMap::new(),
            backups: None,
        })
    }

    /// A record that fedi wrote for another deployment is not foreign: the name is taken.
    pub(crate) async fn with_owners(&self, mut refused: PlanError) -> Result<PlanError, WorkflowError> {
        if !refused.refusals.iter().any(|refusal| matches!(refusal, Refusal::ForeignRecord { .. })) {
            return Ok(refused);
        }
        let ledger = self.store.ledger(None).await?;
        let written = ledger.into_iter().filter_map(|entry| match entry.resource {
            Resource::Records(records) => Some(records),
            _ => None,
        });
        let written: Vec<Records> = written.collect();
        let owner = |name: &str, kind: &str, zone: &Domain| {
            let owns = |records: &&Records| {
                let has = |set: &RecordSet| set.kind == kind && full_name(&set.name, zone) == name;
                records.zone == *zone && records.sets.iter().any(has)
            };
            written.iter().find(owns).map(|records| records.deployment.clone())
        };
        for refusal in &mut refused.refusals {
            if let Refusal::ForeignRecord { name, kind, zone, .. } = refusal
                && let Some(by) = owner(name, kind, zone)
                && let Ok(domain) = Domain::new(name.clone())
            {
                *refusal = Refusal::DomainTaken { domain, by };
            }
        }
        let mut told = Vec::new();
        refused.refusals.retain(|refusal| {
            let new = !told.contains(refusal);
            told.push(refusal.clone());
            new
        });
        Ok(refused)
    }

    /// Plans to remove a deployment and all that it holds. It need not be in the
    /// inventory any more.
    pub async fn destroy(&self, name: &DeploymentName) -> Result<(Plan, GuestState), WorkflowError> {
        let ledger = self.ledger(name).await?;
        let host = match (self.folder.deployment(name.as_str()), ledger_host(&ledger)) {
            (_, Some(host)) => host,
            (Ok(deployment), None) => deployment.host.clone(),
            (Err(unknown), None) => return Err(unknown.into()),
        };
        self.epoch(name, &ledger, Purpose::CarryOut).await?;
        let wanted: Vec<Resource> = ledger.values().cloned().collect();
        let mut known = Known { ledger, ..Known::default() };
        let guest = look::look(self.world.as_ref(), &wanted, &mut known).await?;
        self.look_for_what_no_run_made(name, &host, &mut known).await?;
        let begun = match known.ledger.get(&ResourceId::vm(name)) {
            Some(_) => None,
            None => self.begun_vm(name).await?,
        };
        if let Some(begun) = &begun {
            // What an abandoned run had begun may have come to be after it.
            let begun = Resource::Vm(begun.clone());
            known.observed.insert(begun.id(), self.world.observe(&begun).await?);
        }
        let uuid = begun.map(|vm| vm.uuid);
        let plan = fedi_plan::plan_destroy(&DestroyInputs { deployment: name, host: &host, uuid }, &known)?;
        Ok((plan, guest))
    }

    /// What belongs to a deployment without a run having made it: secrets that the operator
    /// set, an address that a plan held which came to nothing.
    async fn look_for_what_no_run_made(
        &self,
        name: &DeploymentName,
        host: &HostName,
        known: &mut Known,
    ) -> Result<(), WorkflowError> {
        for entry in self.secrets.list(Some(name)).await? {
            let secret = Resource::Secret(Secret {
                deployment: name.clone(),
                app: entry.key.app,
                name: entry.key.name,
                class: entry.class,
                generator: entry.generator,
                version: Some(entry.version),
                from: None,
            });
            known.observed.insert(secret.id(), Some(secret));
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            if let Some(address) = self.addresses.find(name, host, family).await? {
                let address = Resource::Address(address);
                known.observed.insert(address.id(), Some(address));
            }
        }
        Ok(())
    }

    /// Gives back what was reserved for a plan that is not carried out.
    pub async fn give_up(&self, prepared: &Prepared) -> Result<(), WorkflowError> {
        self.release(&prepared.fresh).await
    }

    /// The run of this deployment that is not over, where there is one.
    pub async fn open_run(&self, name: &DeploymentName) -> Result<Option<RunRow>, WorkflowError> {
        Ok(self.store.open_runs().await?.into_iter().find(|run| run.deployment == *name))
    }

    /// What the journal says fedi made for a deployment.
    pub async fn ledger(&self, name: &DeploymentName) -> Result<BTreeMap<ResourceId, Resource>, WorkflowError> {
        let entries = self.store.ledger(Some(name)).await?;
        Ok(entries.into_iter().map(|entry| (entry.resource.id(), entry.resource)).collect())
    }

    pub(crate) fn system(&self, host: &HostName) -> Result<&Arc<dyn SystemSource>, WorkflowError> {
        self.systems.get(host).ok_or_else(|| {
            DriverError::new(DriverErrorKind::Invalid, format!("Host `{host}` has no source of systems")).into()
        })
    }

    pub(crate) async fn reserve(
        &self,
        deployment: &Deployment,
        ledger: &BTreeMap<ResourceId, Resource>,
    ) -> Result<(Vec<Address>, Vec<Address>), WorkflowError> {
        let (host_name, host) = self.folder.host(deployment.host.as_str())?;
        let (mut held, mut fresh) = (Vec::new(), Vec::new());
        for family in fedi_plan::families(&deployment.name, host, ledger) {
            let before = self.addresses.find(&deployment.name, host_name, family).await?;
            let request =
                AddressRequest { deployment: &deployment.name, host: host_name, family, pools: &host.address_pools };
            let address = match self.addresses.reserve(request).await {
                Ok(address) => address,
                Err(error) => {
                    self.release(&fresh).await?;
                    return Err(error.into());
                }
            };
            if before.is_none() {
                fresh.push(address.clone());
            }
            held.push(address);
        }
        Ok((held, fresh))
    }

    /// The addresses that it would hold.
    pub(crate) async fn peek(
        &self,
        deployment: &Deployment,
        ledger: &BTreeMap<ResourceId, Resource>,
    ) -> Result<Vec<Address>, WorkflowError> {
        let (host_name, host) = self.folder.host(deployment.host.as_str())?;
        let mut addresses = Vec::new();
        for family in fedi_plan::families(&deployment.name, host, ledger) {
            let request =
                AddressRequest { deployment: &deployment.name, host: host_name, family, pools: &host.address_pools };
            addresses.push(self.addresses.peek(request).await?);
        }
        Ok(addresses)
    }

    pub(crate) async fn release(&self, addresses: &[Address]) -> Result<(), WorkflowError> {
        for address in addresses {
            self.addresses.release(address).await?;
        }
        Ok(())
    }

    pub(crate) fn authorized_keys(&self) -> Result<Vec<String>, WorkflowError> {
        let path = self.folder.ssh_public_key()?;
        let own = fs::read_to_string(&path).map_err(|error| {
            DriverError::new(DriverErrorKind::Invalid, format!("Failed to read the SSH key `{}`", path.display()))
                .because(&error)
                .hint("Run `fedi init` to make one, or set `ssh.key` in fedi.toml")
        })?;
        let mut keys = vec![own.trim().to_owned()];
        keys.extend(self.folder.fedi().ssh.authorized_keys.iter().cloned());
        Ok(keys)
    }

    /// Others that have the same domain.
    pub(crate) fn taken(&self, by: &Deployment) -> BTreeMap<Domain, DeploymentName> {
        let all = self.folder.inventory().deployments.values();
        let others = all.filter(|other| other.name != by.name && other.domain() == by.domain());
        others.map(|other| (other.domain().clone(), other.name.clone())).collect()
    }
}

fn full_name(name: &str, zone: &Domain) -> String {
    if name.is_empty() { zone.to_string() } else { format!("{name}.{zone}") }
}

fn ledger_host(ledger: &BTreeMap<ResourceId, Resource>) -> Option<HostName> {
    ledger.values().find_map(|resource| match resource {
        Resource::Vm(vm) => Some(vm.host.clone()),
        Resource::Address(address) => Some(address.host.clone()),
        Resource::Records(records) => Some(records.host.clone()),
        _ => None,
    })
}

pub(crate) fn app_of(manifest: &Manifest, deployment: &Deployment) -> Result<App, WorkflowError> {
    manifest.apps.get(deployment.app()).cloned().ok_or_else(|| {
        DriverError::new(
            DriverErrorKind::Invalid,
            format!("The system of `{}` does not have the application `{}`", deployment.name, deployment.app()),
        )
        .into()
    })
}

pub(crate) fn probe(deployment: &Deployment, app: &App, uuid: Uuid, wanted: &[Resource]) -> Probe {
    let mut addresses = Vec::new();
    let mut records: Vec<Records> = Vec::new();
    for resource in wanted {
        match resource {
            Resource::Address(address) => addresses.push(address.address.addr()),
            Resource::Records(set) => records.push(set.clone()),
            _ => {}
        }
    }
    addresses.sort();
    Probe {
        guest: GuestRef { deployment: deployment.name.clone(), host: deployment.host.clone(), uuid, addresses },
        app: deployment.app().clone(),
        unit: app.hooks.probe.as_ref().map(|hook| hook.unit.clone()),
        endpoints: app.endpoints.clone(),
        records,
    }
}
