//! Where plans are prepared: the inventory, the journal and the world in one hand.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use fedi_engine::World;
use fedi_engine::drivers::{AddressBook, AddressRequest, DriverError, DriverErrorKind, SystemSource};
use fedi_engine::store::{RunRow, Store};
use fedi_inventory::Folder;
use fedi_model::inventory::Deployment;
use fedi_model::manifest::{App, Manifest};
use fedi_model::name::{DeploymentName, Domain, HostName};
use fedi_model::plan::{Action, Plan, Probe, Task, Workflow};
use fedi_model::resource::{Address, GuestRef, Records, Resource, ResourceId};
use fedi_model::run::{RunEvent, RunPhase};
use fedi_plan::{DeployInputs, DestroyInputs, Known, SystemInput};
use uuid::Uuid;

use crate::WorkflowError;
use crate::image::image;
use crate::look::{self, GuestState};

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
    /// Where systems come from, by host.
    pub systems: BTreeMap<HostName, Arc<dyn SystemSource>>,
}

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
    /// Plans to bring a deployment to what its files say.
    pub async fn deploy(&self, deployment: &Deployment) -> Result<Prepared, WorkflowError> {
        let ledger = self.ledger(&deployment.name).await?;
        let resolved = self.system(&deployment.host)?.resolve(deployment).await?;
        let (addresses, fresh) = self.reserve(deployment, &ledger).await?;
        let prepared = self.deploy_with(deployment, ledger, &resolved, addresses, &fresh).await;
        if prepared.is_err() {
            self.release(&fresh).await?;
        }
        prepared
    }

    async fn deploy_with(
        &self,
        deployment: &Deployment,
        ledger: BTreeMap<ResourceId, Resource>,
        resolved: &fedi_engine::drivers::Resolved,
        addresses: Vec<Address>,
        fresh: &[Address],
    ) -> Result<Prepared, WorkflowError> {
        let (host_name, host) = self.folder.host(deployment.host.as_str())?;
        let uuid = self.uuid(&deployment.name, &ledger).await?;
        let taken = self.taken(&deployment.name);
        let inputs = DeployInputs {
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
            epoch: self.epoch(&deployment.name, &ledger).await?,
            authorized_keys: self.authorized_keys()?,
            taken: &taken,
            admin_made: self.admin_made(&deployment.name, uuid).await?,
        };
        let mut known = Known { ledger, ..Known::default() };
        // Which files belong on the guest depends on which secrets there are.
        let mut wanted = fedi_plan::desired(&inputs, &known)?;
        wanted.retain(|resource| matches!(resource, Resource::Secret(_)));
        look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let mut wanted = fedi_plan::desired(&inputs, &known)?;
        wanted.retain(|resource| !matches!(resource, Resource::Secret(_)));
        let guest = look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let plan = fedi_plan::plan_deploy(&inputs, &known)?;
        let app = app_of(&resolved.manifest, deployment)?;
        let probe = probe(deployment, &app, uuid, &wanted);
        Ok(Prepared { plan, known, guest, app, probe, fresh: fresh.to_vec() })
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
        self.epoch(name, &ledger).await?;
        let wanted: Vec<Resource> = ledger.values().cloned().collect();
        let mut known = Known { ledger, ..Known::default() };
        let guest = look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let plan = fedi_plan::plan_destroy(&DestroyInputs { deployment: name, host: &host }, &known)?;
        Ok((plan, guest))
    }

    /// Gives back what was reserved for a plan that is not carried out.
    pub async fn give_up(&self, prepared: &Prepared) -> Result<(), WorkflowError> {
        self.release(&prepared.fresh).await
    }

    /// After a run of `destroy`: the next VM is another one.
    pub async fn forget(&self, name: &DeploymentName) -> Result<(), WorkflowError> {
        self.store.set_setting(&uuid_setting(name), None).await?;
        Ok(())
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

    fn system(&self, host: &HostName) -> Result<&Arc<dyn SystemSource>, WorkflowError> {
        self.systems.get(host).ok_or_else(|| {
            DriverError::new(DriverErrorKind::Invalid, format!("Host `{host}` has no source of systems")).into()
        })
    }

    async fn reserve(
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

    async fn release(&self, addresses: &[Address]) -> Result<(), WorkflowError> {
        for address in addresses {
            self.addresses.release(address).await?;
        }
        Ok(())
    }

    /// The UUID of the deployment's VM, chosen once. A setting that was chosen before a
    /// run is found again by the next try, also when the first one never came far.
    async fn uuid(
        &self,
        name: &DeploymentName,
        ledger: &BTreeMap<ResourceId, Resource>,
    ) -> Result<Uuid, WorkflowError> {
        if let Some(Resource::Vm(vm)) = ledger.get(&ResourceId::vm(name)) {
            return Ok(vm.uuid);
        }
        let chosen = self.store.choose_setting(&uuid_setting(name), &Uuid::new_v4().to_string()).await?;
        Uuid::parse_str(&chosen).map_err(|error| {
            DriverError::new(DriverErrorKind::Failed, format!("The UUID of `{name}` in the journal is damaged"))
                .because(&error)
                .into()
        })
    }

    /// The highest epoch that was ever granted; kept also when the guest is gone.
    async fn epoch(
        &self,
        name: &DeploymentName,
        ledger: &BTreeMap<ResourceId, Resource>,
    ) -> Result<u64, WorkflowError> {
        let setting = format!("epoch {name}");
        let kept = self.store.setting(&setting).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let held = ledger.values().find_map(|resource| match resource {
            Resource::Lease(lease) => Some(lease.epoch),
            _ => None,
        });
        match held {
            Some(held) if held > kept => {
                self.store.set_setting(&setting, Some(&held.to_string())).await?;
                Ok(held)
            }
            _ => Ok(kept),
        }
    }

    /// Whether a run has made the first administrator's account on this VM. The answer
    /// "yes" is remembered, since it costs a look into every run.
    async fn admin_made(&self, name: &DeploymentName, uuid: Uuid) -> Result<bool, WorkflowError> {
        let setting = format!("admin-made {uuid}");
        if self.store.setting(&setting).await?.is_some() {
            return Ok(true);
        }
        let runs = self.store.runs().await?;
        let runs = runs.into_iter().filter(|run| run.deployment == *name && run.workflow == Workflow::Deploy);
        for run in runs.filter(|run| run.phase != RunPhase::Unwound) {
            let mut step = None;
            for record in self.store.records(run.id).await? {
                match record.event {
                    RunEvent::Planned { plan } => step = admin_step(&plan, uuid),
                    RunEvent::Finished { step: done, .. } if step.as_ref() == Some(&done) => {
                        self.store.set_setting(&setting, Some("yes")).await?;
                        return Ok(true);
                    }
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    fn authorized_keys(&self) -> Result<Vec<String>, WorkflowError> {
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

    fn taken(&self, but: &DeploymentName) -> BTreeMap<Domain, DeploymentName> {
        let others = self.folder.inventory().deployments.values().filter(|deployment| deployment.name != *but);
        others.map(|deployment| (deployment.domain().clone(), deployment.name.clone())).collect()
    }
}

fn uuid_setting(name: &DeploymentName) -> String {
    format!("vm-uuid {name}")
}

fn ledger_host(ledger: &BTreeMap<ResourceId, Resource>) -> Option<HostName> {
    ledger.values().find_map(|resource| match resource {
        Resource::Vm(vm) => Some(vm.host.clone()),
        Resource::Address(address) => Some(address.host.clone()),
        Resource::Records(records) => Some(records.host.clone()),
        _ => None,
    })
}

fn admin_step(plan: &Plan, uuid: Uuid) -> Option<fedi_model::plan::StepId> {
    plan.steps().find_map(|step| match &step.action {
        Action::Run { task } => match &**task {
            Task::CreateAdmin { guest, .. } if guest.uuid == uuid => Some(step.id.clone()),
            _ => None,
        },
        _ => None,
    })
}

fn app_of(manifest: &Manifest, deployment: &Deployment) -> Result<App, WorkflowError> {
    manifest.apps.get(deployment.app()).cloned().ok_or_else(|| {
        DriverError::new(
            DriverErrorKind::Invalid,
            format!("The system of `{}` does not have the application `{}`", deployment.name, deployment.app()),
        )
        .into()
    })
}

fn probe(deployment: &Deployment, app: &App, uuid: Uuid, wanted: &[Resource]) -> Probe {
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
