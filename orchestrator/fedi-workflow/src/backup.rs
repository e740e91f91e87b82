//! Captures: which repository, and the plan.

use fedi_engine::drivers::{DriverError, DriverErrorKind, StoredSnapshot};
use fedi_model::inventory::Deployment;
use fedi_model::name::{DeploymentName, RepositoryName};
use fedi_model::plan::Plan;
use fedi_model::resource::{GuestRef, Resource, ResourceId, Secret, SnapshotRef};
use fedi_model::state::Consistency;
use fedi_plan::{BackupInputs, BackupsInput, Known, PlanError, Refusal};
use uuid::Uuid;

use crate::look::{self, GuestState};
use crate::{Desk, WorkflowError};

/// A capture that is planned.
#[derive(Debug, Clone)]
pub struct PreparedBackup {
    /// What is to be done.
    pub plan: Plan,
    /// Where to.
    pub repository: RepositoryName,
    /// How the guest is.
    pub guest: GuestState,
}

impl Desk {
    /// The repository of a deployment. One whose file is gone has the inventory's only one.
    pub fn repository_of(&self, name: &DeploymentName) -> Result<RepositoryName, WorkflowError> {
        let known = &self.folder.fedi().backups;
        let wish = self.folder.deployment(name.as_str()).ok().and_then(|it| it.file.backup.repository.clone());
        let wrong =
            |what: String, hint: &str| WorkflowError::from(DriverError::new(DriverErrorKind::Invalid, what).hint(hint));
        if let Some(wish) = wish {
            return Ok(wish);
        }
        match known.keys().collect::<Vec<_>>().as_slice() {
            [only] => Ok((*only).clone()),
            [] => Err(wrong(
                format!("There is no repository for backups of `{name}`"),
                "Add `[backups.main]` to fedi.toml; docs/backups.md shows how",
            )),
            _ => Err(wrong(
                format!("It is not said which repository has the backups of `{name}`"),
                "Set `backup.repository` in the deployment's file",
            )),
        }
    }

    /// The backups that a deployment's guest is to make by itself, as its file says.
    pub(crate) async fn backups_of(&self, deployment: &Deployment) -> Result<Option<BackupsInput>, WorkflowError> {
        let wishes = &deployment.file.backup;
        let Some(schedule) = wishes.schedule.clone() else { return Ok(None) };
        let repository = self.repository_of(&deployment.name)?;
        let known = self.folder.fedi().backups.get(&repository);
        let location = known.map(|it| it.place_of(&it.location, &deployment.name)).unwrap_or_default();
        let recipients = self.seal.recipients().await?;
        Ok(Some(BackupsInput { repository, location, schedule, consistency: wishes.consistency, recipients }))
    }

    /// Plans to capture a deployment's state; without a word on consistency, as its file
    /// says.
    pub async fn backup(
        &self,
        name: &DeploymentName,
        consistency: Option<Consistency>,
    ) -> Result<PreparedBackup, WorkflowError> {
        let repository = self.repository_of(name)?;
        let ledger = self.ledger(name).await?;
        let refused = |refusal| PlanError { verb: "back up", deployment: name.clone(), refusals: vec![refusal] };
        let Some(Resource::Vm(vm)) = ledger.get(&ResourceId::vm(name)) else {
            return Err(refused(Refusal::NothingToCapture { deployment: name.clone() }).into());
        };
        let guest = GuestRef {
            deployment: name.clone(),
            host: vm.host.clone(),
            uuid: vm.uuid,
            addresses: vm.addresses.iter().map(|nic| nic.address.addr()).collect(),
        };
        let consistency = consistency.unwrap_or_else(|| {
            self.folder.deployment(name.as_str()).map(|it| it.file.backup.consistency).unwrap_or_default()
        });
        let mut wanted: Vec<Resource> =
            [ResourceId::vm(name), ResourceId::lease(name)].iter().filter_map(|id| ledger.get(id).cloned()).collect();
        wanted.extend([Secret::password_of(&repository), Secret::fingerprint_key_of(name)].map(Resource::Secret));
        let mut known = Known { ledger, ..Known::default() };
        let state = look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let inputs = BackupInputs {
            guest,
            repository: &repository,
            consistency,
            key: Uuid::new_v4(),
            answers: state == GuestState::Answers,
            recipients: self.seal.recipients().await?,
        };
        let plan = fedi_plan::plan_backup(&inputs, &known)?;
        Ok(PreparedBackup { plan, repository, guest: state })
    }

    /// The snapshots of a deployment, oldest first; none where the repository has not
    /// been made.
    pub async fn snapshots(
        &self,
        name: &DeploymentName,
    ) -> Result<(RepositoryName, Vec<StoredSnapshot>), WorkflowError> {
        let repository = self.repository_of(name)?;
        let password = Resource::Secret(Secret::password_of(&repository));
        if self.world.observe(&password).await?.is_none() {
            return Ok((repository, Vec::new()));
        }
        let stored = self.repositories.list(&repository, name).await?;
        Ok((repository, stored))
    }

    /// What was stored of a deployment without coming to its end, oldest first.
    pub async fn incomplete(&self, name: &DeploymentName) -> Result<Vec<StoredSnapshot>, WorkflowError> {
        let repository = self.repository_of(name)?;
        let password = Resource::Secret(Secret::password_of(&repository));
        if self.world.observe(&password).await?.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.repositories.incomplete(&repository, name).await?)
    }

    /// The snapshot of that id, which may be shortened; without one the newest that is not
    /// what a restore replaced, unless there is nothing else.
    pub async fn pick(&self, name: &DeploymentName, id: Option<&str>) -> Result<SnapshotRef, WorkflowError> {
        let (repository, stored) = self.snapshots(name).await?;
        let wrong = |what: String, hint: String| {
            WorkflowError::from(DriverError::new(DriverErrorKind::Invalid, what).hint(hint))
        };
        let picked = match id {
            Some(id) => {
                let found: Vec<&StoredSnapshot> = stored.iter().filter(|one| one.is(id)).collect();
                match found.as_slice() {
                    [one] => Some(*one),
                    [] => None,
                    _ => {
                        let what = format!("Several snapshots of `{name}` begin with `{id}`");
                        return Err(wrong(what, "Give more of its id".to_owned()));
                    }
                }
            }
            None => stored.iter().rfind(|one| !one.is_fail_safe()).or(stored.last()),
        };
        let Some(picked) = picked else {
            let what = match id {
                Some(id) => format!("Repository `{repository}` has no snapshot `{id}` of `{name}`"),
                None => format!("Repository `{repository}` has no snapshot of `{name}`"),
            };
            let hint = match id {
                Some(_) => format!("`fedi backup list {name}` shows them"),
                None => format!("Run `fedi backup create {name}`"),
            };
            return Err(wrong(what, hint));
        };
        Ok(SnapshotRef { repository, deployment: name.clone(), id: picked.id.clone() })
    }
}
