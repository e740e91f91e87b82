//! What is remembered of a deployment beside its journal: the UUID of its VM, the highest
//! epoch of its lease, whether its first administrator was made.

use std::collections::BTreeMap;

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_model::name::DeploymentName;
use fedi_model::plan::{Action, Plan, StepId, Task, Workflow};
use fedi_model::resource::{Resource, ResourceId, Vm};
use fedi_model::run::{RunEvent, RunPhase};
use uuid::Uuid;

use crate::{Desk, WorkflowError};

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be carried out: what it leans on is held.
    CarryOut,
    /// To be told of.
    Tell,
}

impl Desk {
    /// After a destroy, or a deploy that was taken back: lets go of what was held for the
    /// deployment and belongs to nothing that was made.
    pub async fn forget(&self, name: &DeploymentName) -> Result<(), WorkflowError> {
        let ledger = self.ledger(name).await?;
        if self.open_run(name).await?.is_some() {
            return Ok(());
        }
        for address in self.addresses.list().await?.into_iter().filter(|address| address.deployment == *name) {
            if !ledger.contains_key(&Resource::Address(address.clone()).id()) {
                self.addresses.release(&address).await?;
            }
        }
        if ledger.contains_key(&ResourceId::vm(name)) {
            return Ok(());
        }
        if let Some(uuid) = self.store.setting(&uuid_setting(name)).await? {
            self.store.set_setting(&admin_setting(&uuid), None).await?;
            // The next VM is another one.
            self.store.set_setting(&uuid_setting(name), None).await?;
        }
        Ok(())
    }

    /// The UUID of the deployment's VM, chosen once. A setting that was chosen before a
    /// run is found again by the next try, also when the first one never came far.
    pub(crate) async fn uuid(
        &self,
        name: &DeploymentName,
        ledger: &BTreeMap<ResourceId, Resource>,
        purpose: Purpose,
    ) -> Result<Uuid, WorkflowError> {
        if let Some(Resource::Vm(vm)) = ledger.get(&ResourceId::vm(name)) {
            return Ok(vm.uuid);
        }
        let (setting, new) = (uuid_setting(name), Uuid::new_v4());
        let chosen = match purpose {
            Purpose::CarryOut => self.store.choose_setting(&setting, &new.to_string()).await?,
            Purpose::Tell => match self.store.setting(&setting).await? {
                Some(chosen) => chosen,
                None => return Ok(new),
            },
        };
        Uuid::parse_str(&chosen).map_err(|error| {
            DriverError::new(DriverErrorKind::Failed, format!("The UUID of `{name}` in the journal is damaged"))
                .because(&error)
                .into()
        })
    }

    /// Refuses to plan as if there were no VM while the host still makes the one that an
    /// abandoned run began.
    pub(crate) async fn no_vm_is_on_its_way(
        &self,
        name: &DeploymentName,
        ledger: &BTreeMap<ResourceId, Resource>,
    ) -> Result<(), WorkflowError> {
        if !ledger.contains_key(&ResourceId::vm(name))
            && let Some(begun) = self.begun_vm(name).await?
        {
            self.world.observe(&Resource::Vm(begun)).await?;
        }
        Ok(())
    }

    /// The VM with the chosen UUID as a run was to make it, where one was; with the number
    /// that the run noted for it, where the run is over.
    pub(crate) async fn begun_vm(&self, name: &DeploymentName) -> Result<Option<Vm>, WorkflowError> {
        let Some(chosen) = self.store.setting(&uuid_setting(name)).await? else { return Ok(None) };
        for run in self.store.runs_of(name).await? {
            let mut begun: Option<(StepId, Vm)> = None;
            for record in self.store.records(run.id).await? {
                match record.event {
                    RunEvent::Planned { plan } => {
                        begun = plan.steps().find_map(|step| match &step.action {
                            Action::Ensure { desired, .. } => match &**desired {
                                Resource::Vm(vm) if vm.uuid.to_string() == chosen => {
                                    Some((step.id.clone(), vm.clone()))
                                }
                                _ => None,
                            },
                            _ => None,
                        });
                    }
                    RunEvent::Noted { step, key, value } => {
                        if let Some((_, vm)) =
                            begun.as_mut().filter(|(of, _)| run.phase.is_over() && *of == step && key == "vmid")
                        {
                            vm.vmid = value.parse().ok();
                        }
                    }
                    _ => {}
                }
            }
            if let Some((_, vm)) = begun {
                return Ok(Some(vm));
            }
        }
        Ok(None)
    }

    /// The highest epoch that was ever granted; kept also when the guest is gone.
    pub(crate) async fn epoch(
        &self,
        name: &DeploymentName,
        ledger: &BTreeMap<ResourceId, Resource>,
        purpose: Purpose,
    ) -> Result<u64, WorkflowError> {
        let setting = format!("epoch {name}");
        let kept = self.store.setting(&setting).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let held = match ledger.get(&ResourceId::lease(name)) {
            Some(Resource::Lease(lease)) => lease.epoch,
            _ => 0,
        };
        if held > kept && purpose == Purpose::CarryOut {
            self.store.set_setting(&setting, Some(&held.to_string())).await?;
        }
        Ok(held.max(kept))
    }

    /// Takes up that an epoch is spent.
    pub(crate) async fn remember_epoch(&self, name: &DeploymentName, epoch: u64) -> Result<(), WorkflowError> {
        let setting = format!("epoch {name}");
        let kept = self.store.setting(&setting).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        if epoch > kept {
            self.store.set_setting(&setting, Some(&epoch.to_string())).await?;
        }
        Ok(())
    }

    /// Whether a run has made the first administrator's account on this VM. The answer
    /// "yes" is remembered, since it costs a look into every run.
    pub(crate) async fn admin_made(
        &self,
        name: &DeploymentName,
        ledger: &BTreeMap<ResourceId, Resource>,
        uuid: Uuid,
        purpose: Purpose,
    ) -> Result<bool, WorkflowError> {
        if !ledger.contains_key(&ResourceId::system(name)) {
            return Ok(false);
        }
        let setting = admin_setting(uuid);
        if self.store.setting(&setting).await?.is_some() {
            return Ok(true);
        }
        let runs = self.store.runs_of(name).await?;
        // What a snapshot brought back has its accounts.
        let makes = [Workflow::Deploy, Workflow::Restore, Workflow::Clone];
        let runs = runs.into_iter().filter(|run| makes.contains(&run.workflow));
        for run in runs.filter(|run| run.phase != RunPhase::Unwound) {
            let mut step = None;
            for record in self.store.records(run.id).await? {
                match record.event {
                    RunEvent::Planned { plan } => step = admin_step(&plan, uuid),
                    RunEvent::Finished { step: done, .. } if step.as_ref() == Some(&done) => {
                        if purpose == Purpose::CarryOut {
                            self.store.set_setting(&setting, Some("yes")).await?;
                        }
                        return Ok(true);
                    }
                    _ => {}
                }
            }
        }
        Ok(false)
    }
}

fn uuid_setting(name: &DeploymentName) -> String {
    format!("vm-uuid {name}")
}

fn admin_setting(uuid: impl std::fmt::Display) -> String {
    format!("admin-made {uuid}")
}

fn admin_step(plan: &Plan, uuid: Uuid) -> Option<StepId> {
    plan.steps().find_map(|step| match &step.action {
        Action::Run { task } => match &**task {
            Task::CreateAdmin { guest, .. } if guest.uuid == uuid => Some(step.id.clone()),
            _ => None,
        },
        Action::Ensure { desired, .. } => match &**desired {
            Resource::State(state) if state.guest.uuid == uuid => Some(step.id.clone()),
            _ => None,
        },
        _ => None,
    })
}
