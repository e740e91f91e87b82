//! Stand-in repositories as the operator's machine reaches them, under the rules of the
//! real ones: the password out of the store, marked snapshots by another id.

use std::sync::Arc;

use async_trait::async_trait;
use fedi_drivers::repository::of_its_own;
use fedi_engine::drivers::{
    DriverError, DriverErrorKind, Repositories, RepositoryAccess, RepositoryLock, SecretKey, SecretStore, SecretValue,
    StoredSnapshot,
};
use fedi_inventory::Folder;
use fedi_model::name::{DeploymentName, RepositoryName};
use fedi_model::resource::{Secret, SnapshotRef};
use fedi_state::repository::{Keep, Stored, to_forget};

use super::repository::{StandInRepositories, StandInSnapshot, digest};

/// The operator's way to stand-in repositories.
pub struct StandInVault {
    /// The repositories.
    pub repositories: StandInRepositories,
    /// The inventory, which names them.
    pub folder: Arc<Folder>,
    /// Where their passwords are.
    pub secrets: Arc<dyn SecretStore>,
}

impl StandInVault {
    async fn open(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<(String, SecretValue), DriverError> {
        let secret = Secret::password_of(repository);
        let key = SecretKey { deployment: secret.deployment, app: secret.app, name: secret.name };
        let missing = || DriverError::new(DriverErrorKind::Invalid, format!("The store has no secret `{key}`"));
        let (password, _) = self.secrets.get(&key).await?.ok_or_else(missing)?;
        let settings = self.folder.fedi().backups.get(repository).expect("a repository of the inventory");
        let password = if settings.per_deployment { of_its_own(&password, deployment) } else { password };
        Ok((settings.place_of(&settings.location, deployment), password))
    }

    async fn all(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<StandInSnapshot>, DriverError> {
        let (location, password) = self.open(repository, deployment).await?;
        let found = self.repositories.open(&location, password.expose())?;
        Ok(found.map(|it| it.snapshots).unwrap_or_default())
    }

    async fn one(&self, at: &SnapshotRef) -> Result<StandInSnapshot, DriverError> {
        let found = self.all(&at.repository, &at.deployment).await?.into_iter().find(|one| one.id == at.id);
        let what = || format!("Repository `{}` has no snapshot `{}`", at.repository, at.id);
        found.ok_or_else(|| DriverError::new(DriverErrorKind::Invalid, what()))
    }

    fn keep(&self, repository: &RepositoryName) -> Keep {
        self.folder.fedi().backups.get(repository).expect("a repository of the inventory").keep.into()
    }
}

#[async_trait]
impl Repositories for StandInVault {
    async fn access(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<RepositoryAccess, DriverError> {
        let (location, password) = self.open(repository, deployment).await?;
        Ok(RepositoryAccess { location, password, rest: None, s3: None, sftp: None, ca: None })
    }

    async fn list(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<StoredSnapshot>, DriverError> {
        let tag = format!("deployment:{deployment}");
        let all = self.all(repository, deployment).await?.into_iter().filter(|one| one.tags.contains(&tag));
        Ok(all.map(|one| StoredSnapshot { id: one.id, original: one.original, at: one.time, tags: one.tags }).collect())
    }

    async fn incomplete(&self, _: &RepositoryName, _: &DeploymentName) -> Result<Vec<StoredSnapshot>, DriverError> {
        Ok(Vec::new())
    }

    async fn manifest(&self, snapshot: &SnapshotRef) -> Result<Vec<u8>, DriverError> {
        Ok(serde_json::to_vec(&self.one(snapshot).await?.manifest).unwrap())
    }

    async fn sealed_secrets(&self, snapshot: &SnapshotRef) -> Result<Option<Vec<u8>>, DriverError> {
        let sealed = self.one(snapshot).await?.sealed_secrets;
        Ok((!sealed.is_empty()).then_some(sealed))
    }

    async fn mark_proved(&self, snapshot: &SnapshotRef) -> Result<String, DriverError> {
        let (location, password) = self.open(&snapshot.repository, &snapshot.deployment).await?;
        self.repositories.change(&location, password.expose(), |repository| {
            let is = |one: &&mut StandInSnapshot| one.id == snapshot.id || one.original.as_ref() == Some(&snapshot.id);
            let one = repository.snapshots.iter_mut().find(is).expect("the snapshot that was restored");
            if !one.tags.iter().any(|tag| tag == "proved") {
                one.original = Some(one.id.clone());
                one.id = digest(format!("{} proved", one.id).as_bytes());
                one.tags.push("proved".to_owned());
            }
            one.id.clone()
        })
    }

    async fn outdated(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<String>, DriverError> {
        let all = self.list(repository, deployment).await?;
        let stored: Vec<Stored> = all
            .into_iter()
            .map(|one| Stored { id: one.id, original: one.original, time: one.at, tags: one.tags })
            .collect();
        Ok(to_forget(&stored, &self.keep(repository), &[]))
    }

    async fn prune(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<String>, DriverError> {
        let gone = self.outdated(repository, deployment).await?;
        let (location, password) = self.open(repository, deployment).await?;
        self.repositories
            .change(&location, password.expose(), |it| it.snapshots.retain(|one| !gone.contains(&one.id)))?;
        Ok(gone)
    }

    async fn check(&self, repository: &RepositoryName, deployment: &DeploymentName, _: u8) -> Result<(), DriverError> {
        self.all(repository, deployment).await.map(drop)
    }

    async fn locks(&self, _: &RepositoryName, _: &DeploymentName) -> Result<Vec<RepositoryLock>, DriverError> {
        Ok(Vec::new())
    }

    async fn remove_stale_locks(&self, _: &RepositoryName, _: &DeploymentName) -> Result<(), DriverError> {
        Ok(())
    }
}
