//! Repositories of snapshots through restic on the operator's machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::drivers::{
    DriverError, DriverErrorKind, Repositories, RepositoryAccess, RepositoryLock, RestLogin, S3Access, SecretKey,
    SecretStore, SecretValue, SftpAccess, StoredSnapshot,
};
use fedi_model::inventory::own_place;
use fedi_model::name::{DeploymentName, RepositoryName};
use fedi_model::resource::{Secret, SnapshotRef};
use fedi_state::repository::{Keep, Password, Repository, S3Keys, SshLogin, Stored};
use fedi_state::{ErrorClass, StateError, Work};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use zeroize::Zeroizing;

/// One way to a repository.
#[derive(Debug, Clone)]
pub struct Way {
    /// As restic takes it, without a login.
    pub location: String,
    /// The login of a `rest:` server.
    pub rest: Option<RestLogin>,
    /// The keys of an `s3:` endpoint.
    pub s3: Option<S3Access>,
    /// The key of an `sftp:` server; without it, the user's own ssh settings decide.
    pub sftp: Option<SftpAccess>,
}

impl Way {
    /// Refuses a folder that is not on this machine: one that only guests have would look
    /// like a repository that nobody has made yet.
    fn is_here(&self) -> Result<(), DriverError> {
        if !self.location.starts_with('/') || Path::new(&self.location).exists() {
            return Ok(());
        }
        Err(DriverError::new(DriverErrorKind::Invalid, "Failed to find a repository")
            .cause(format!("`{}` is not on this machine", self.location))
            .hint(
                "A plain path is looked for on the guest and on this machine: mount here what the guest writes to, \
                 or say with `operator-location` how this machine reaches it",
            ))
    }
}

/// A repository as the inventory has it, its credentials read.
#[derive(Debug, Clone)]
pub struct RepositorySettings {
    /// How guests reach it.
    pub guest: Way,
    /// How the operator's machine does.
    pub operator: Way,
    /// Certificates (PEM) that its server's may be signed by.
    pub ca: Option<String>,
    /// What is kept.
    pub keep: Keep,
    /// Whether each deployment has one of its own below the location.
    pub per_deployment: bool,
}

/// Reads the settings and credentials of a repository, when they are needed.
pub type ReadSettings = dyn Fn(&RepositoryName) -> Result<RepositorySettings, DriverError> + Send + Sync;

/// Repositories through restic.
pub struct ResticRepositories {
    settings: Arc<ReadSettings>,
    secrets: Arc<dyn SecretStore>,
    /// Where restic remembers what repositories have.
    cache: PathBuf,
}

impl ResticRepositories {
    /// Touches nothing yet.
    pub fn new(settings: Arc<ReadSettings>, secrets: Arc<dyn SecretStore>, cache: PathBuf) -> Self {
        Self { settings, secrets, cache }
    }

    /// The password of the repository that a deployment's snapshots are in.
    async fn password(
        &self,
        repository: &RepositoryName,
        settings: &RepositorySettings,
        deployment: &DeploymentName,
    ) -> Result<SecretValue, DriverError> {
        let kept = self.kept(repository).await?;
        if settings.per_deployment { Ok(of_its_own(&kept, deployment)) } else { Ok(kept) }
    }

    /// The password as the store has it.
    async fn kept(&self, repository: &RepositoryName) -> Result<SecretValue, DriverError> {
        let secret = Secret::password_of(repository);
        let key = SecretKey { deployment: secret.deployment, app: secret.app, name: secret.name };
        let found = self.secrets.get(&key).await?;
        found.map(|(value, _)| value).ok_or_else(|| {
            DriverError::new(DriverErrorKind::Invalid, format!("Failed to open the repository `{repository}`"))
                .cause(format!("The store has no secret `{key}`, its password"))
                .hint("It is made by the first `fedi backup create`; a repository that is there already needs its own")
        })
    }

    async fn open(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<(Repository, RepositorySettings), DriverError> {
        let settings = (self.settings)(repository)?;
        let password = self.password(repository, &settings, deployment).await?;
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        let way = &settings.operator;
        let opened = Repository {
            location: with_login(&settings.location(way, deployment), way.rest.as_ref())?,
            password: Password::Value(Zeroizing::new(password)),
            s3: way.s3.as_ref().map(|keys| S3Keys {
                id: keys.id.clone(),
                secret: Zeroizing::new(String::from_utf8_lossy(keys.secret.expose()).into_owned()),
                region: keys.region.clone(),
            }),
            ca: settings.ca.clone(),
            ssh: way.sftp.as_ref().map(|sftp| SshLogin {
                key: Zeroizing::new(sftp.private_key.expose().to_vec()),
                known_hosts: sftp.known_hosts.clone(),
            }),
            cache: Some(self.cache.clone()),
        };
        Ok((opened, settings))
    }

    /// Does something that takes its time with an opened repository.
    async fn with<T: Send + 'static>(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
        what: &str,
        work: impl FnOnce(&Repository, &RepositorySettings, &Work) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let (opened, settings) = self.open(repository, deployment).await?;
        let message = format!("Failed to {what} in repository `{repository}`");
        settings.operator.is_here().map_err(|missing| DriverError { message: message.clone(), ..missing })?;
        let done = tokio::task::spawn_blocking(move || work(&opened, &settings, &Work::default())).await;
        match done {
            Ok(done) => done.map_err(|error| driver_error(repository, &message, &error)),
            Err(error) => Err(DriverError::new(DriverErrorKind::Failed, message).because(&error)),
        }
    }

    /// The deployment's snapshots of one sort.
    async fn listed(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
        sort: fn(&Repository, &Work, &str) -> Result<Vec<Stored>, StateError>,
    ) -> Result<Vec<StoredSnapshot>, DriverError> {
        let name = deployment.clone();
        let list = move |it: &Repository, _: &RepositorySettings, work: &Work| or_none(sort(it, work, name.as_str()));
        let stored = self.with(repository, deployment, "list the snapshots", list).await?;
        Ok(stored.into_iter().map(told).collect())
    }
}

impl RepositorySettings {
    fn location(&self, way: &Way, deployment: &DeploymentName) -> String {
        if self.per_deployment { own_place(&way.location, deployment) } else { way.location.clone() }
    }
}

/// The password of a deployment's own repository, from the one that the store has: who
/// knows it can tell neither that one nor another deployment's. In the shell:
/// `printf 'fedi repository 1 matrix' | openssl dgst -sha256 -hmac "$PASSWORD"`.
pub fn of_its_own(kept: &SecretValue, deployment: &DeploymentName) -> SecretValue {
    let mut hmac = Hmac::<Sha256>::new_from_slice(kept.expose()).unwrap_or_else(|_| unreachable!("any length will do"));
    hmac.update(b"fedi repository 1 ");
    hmac.update(deployment.as_str().as_bytes());
    SecretValue::new(hex::encode(hmac.finalize().into_bytes()).into_bytes())
}

/// A REST server's login stands in restic's location; it is given in a file.
fn with_login(location: &str, login: Option<&RestLogin>) -> Result<String, DriverError> {
    let (Some(login), Some(rest)) = (login, location.strip_prefix("rest:")) else { return Ok(location.to_owned()) };
    let wrong = || DriverError::new(DriverErrorKind::Invalid, "The location of a repository is no `rest:` URL");
    let mut url = url::Url::parse(rest).map_err(|_| wrong())?;
    let password = String::from_utf8_lossy(login.password.expose());
    url.set_username(&login.user).and_then(|()| url.set_password(Some(&password))).map_err(|()| wrong())?;
    Ok(format!("rest:{url}"))
}

/// What a failure of the state's library means for a step.
fn driver_error(repository: &RepositoryName, message: &str, error: &StateError) -> DriverError {
    let kind = match error.class() {
        ErrorClass::Unreachable | ErrorClass::Locked => DriverErrorKind::Unavailable,
        ErrorClass::Password | ErrorClass::Denied => DriverErrorKind::Denied,
        ErrorClass::NotEmpty | ErrorClass::Untrusted => DriverErrorKind::Foreign,
        ErrorClass::Missing | ErrorClass::NotFound | ErrorClass::Incompatible => DriverErrorKind::Invalid,
        ErrorClass::Cancelled => DriverErrorKind::Interrupted,
        ErrorClass::Io
        | ErrorClass::Full
        | ErrorClass::Tool
        | ErrorClass::Floor
        | ErrorClass::Changed
        | ErrorClass::Damaged
        | ErrorClass::Differs => DriverErrorKind::Failed,
    };
    let made = DriverError::new(kind, message).because(error);
    let hint = match (error.hint(), error.class()) {
        (Some(hint), _) => Some(hint.to_owned()),
        (None, ErrorClass::Missing) => Some("Install restic on this machine".to_owned()),
        (None, ErrorClass::Full) => Some("Make room where the repository is, or on this machine".to_owned()),
        (None, ErrorClass::Unreachable) => {
            Some("See whether its server runs, and whether this machine reaches it".to_owned())
        }
        (None, ErrorClass::Password) => Some(format!(
            "Was the repository made by another inventory? Set its password with `fedi secret set backups {repository}`"
        )),
        (None, _) => None,
    };
    match hint {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

fn told(stored: Stored) -> StoredSnapshot {
    StoredSnapshot { id: stored.id, original: stored.original, at: stored.time, tags: stored.tags }
}

/// A repository that nobody has made yet has no snapshots.
fn or_none<T>(found: Result<Vec<T>, StateError>) -> Result<Vec<T>, StateError> {
    match found {
        Err(error) if error.class() == ErrorClass::NotFound => Ok(Vec::new()),
        other => other,
    }
}

#[async_trait]
impl Repositories for ResticRepositories {
    async fn access(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<RepositoryAccess, DriverError> {
        let settings = (self.settings)(repository)?;
        Ok(RepositoryAccess {
            location: settings.location(&settings.guest, deployment),
            password: self.password(repository, &settings, deployment).await?,
            rest: settings.guest.rest.clone(),
            s3: settings.guest.s3.clone(),
            sftp: settings.guest.sftp.clone(),
            ca: settings.ca.clone(),
        })
    }

    async fn list(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<StoredSnapshot>, DriverError> {
        self.listed(repository, deployment, Repository::snapshots).await
    }

    async fn incomplete(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<StoredSnapshot>, DriverError> {
        self.listed(repository, deployment, Repository::incomplete).await
    }

    async fn manifest(&self, snapshot: &SnapshotRef) -> Result<Vec<u8>, DriverError> {
        let at = snapshot.clone();
        let what = format!("read the snapshot `{}`", snapshot.short());
        let read = move |it: &Repository, _: &RepositorySettings, work: &Work| it.file(work, &at.id, "snapshot.json");
        let found = self.with(&snapshot.repository, &snapshot.deployment, &what, read).await?;
        found.ok_or_else(|| {
            DriverError::new(
                DriverErrorKind::Invalid,
                format!("The snapshot `{}` has no `snapshot.json`: fedi did not make it", snapshot.short()),
            )
        })
    }

    async fn sealed_secrets(&self, snapshot: &SnapshotRef) -> Result<Option<Vec<u8>>, DriverError> {
        let at = snapshot.clone();
        let what = format!("read the secrets of snapshot `{}`", snapshot.short());
        let read = move |it: &Repository, _: &RepositorySettings, work: &Work| it.file(work, &at.id, "secrets.age");
        self.with(&snapshot.repository, &snapshot.deployment, &what, read).await
    }

    async fn mark_proved(&self, snapshot: &SnapshotRef) -> Result<String, DriverError> {
        let at = snapshot.clone();
        let what = format!("mark the snapshot `{}`", snapshot.short());
        let mark = move |it: &Repository, _: &RepositorySettings, work: &Work| {
            // Marked by an earlier try, it goes by another id.
            let stored = it.snapshots(work, at.deployment.as_str())?;
            let known = stored.into_iter().find(|one| one.id == at.id || one.original.as_ref() == Some(&at.id));
            match known {
                Some(marked) if marked.is_proved() => Ok(marked.id),
                Some(found) => it.mark_proved(work, at.deployment.as_str(), &found.id),
                None => it.mark_proved(work, at.deployment.as_str(), &at.id),
            }
        };
        self.with(&snapshot.repository, &snapshot.deployment, &what, mark).await
    }

    async fn outdated(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<String>, DriverError> {
        let name = deployment.clone();
        let outdated = move |it: &Repository, settings: &RepositorySettings, work: &Work| {
            or_none(it.outdated(work, name.as_str(), &settings.keep, &[]))
        };
        self.with(repository, deployment, "list the snapshots", outdated).await
    }

    async fn prune(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<String>, DriverError> {
        let name = deployment.clone();
        let prune = move |it: &Repository, settings: &RepositorySettings, work: &Work| {
            it.forget(work, name.as_str(), &settings.keep, &[])
        };
        self.with(repository, deployment, "forget snapshots", prune).await
    }

    async fn check(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
        content_percent: u8,
    ) -> Result<(), DriverError> {
        let check = move |it: &Repository, _: &RepositorySettings, work: &Work| it.check(work, content_percent);
        self.with(repository, deployment, "check what is", check).await
    }

    async fn locks(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<Vec<RepositoryLock>, DriverError> {
        let locks = |it: &Repository, _: &RepositorySettings, work: &Work| {
            let stale = it.stale_locks(work, Timestamp::now())?;
            let all = it.locks(work)?;
            Ok(all.into_iter().map(|lock| (stale.contains(&lock), lock)).collect::<Vec<_>>())
        };
        let found = self.with(repository, deployment, "look for locks", locks).await?;
        let lock = |(stale, lock): (bool, fedi_state::repository::Lock)| RepositoryLock {
            holder: format!("{} (pid {})", lock.hostname, lock.pid),
            at: lock.time,
            stale,
        };
        Ok(found.into_iter().map(lock).collect())
    }

    async fn remove_stale_locks(
        &self,
        repository: &RepositoryName,
        deployment: &DeploymentName,
    ) -> Result<(), DriverError> {
        let remove =
            |it: &Repository, _: &RepositorySettings, work: &Work| it.remove_stale_locks(work, Timestamp::now());
        self.with(repository, deployment, "remove stale locks", remove).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_part_of_a_rest_location_only() {
        let login = RestLogin { user: "guest".to_owned(), password: SecretValue::new(b"p@ss/word".to_vec()) };
        let given = |location: &str| with_login(location, Some(&login)).unwrap();
        assert_eq!(given("rest:https://host:8000/main/"), "rest:https://guest:p%40ss%2Fword@host:8000/main/");
        assert_eq!(given("/srv/backup"), "/srv/backup");
        assert_eq!(with_login("rest:https://host/", None).unwrap(), "rest:https://host/");
    }

    #[test]
    fn a_repository_of_its_own_has_a_password_of_its_own() {
        let kept = SecretValue::new(b"kept".to_vec());
        let own = of_its_own(&kept, &DeploymentName::new("matrix").unwrap());
        // As openssl computes it.
        let wanted = b"204c23d59d2ae3128f6e1f3fcd5c2d55841095bbbd3c8c37852897fbfb7a5950";
        assert_eq!(own.expose(), wanted);
        assert_ne!(own.expose(), of_its_own(&kept, &DeploymentName::new("masto").unwrap()).expose());
    }

    #[test]
    fn a_folder_that_is_not_here_is_told() {
        let place = tempfile::tempdir().unwrap();
        let way = |location: String| Way { location, rest: None, s3: None, sftp: None };
        let here = place.path().display().to_string();
        assert!(way(here.clone()).is_here().is_ok());
        assert!(way("sftp:user@host:/srv/none".to_owned()).is_here().is_ok());
        let error = way(format!("{here}/none")).is_here().unwrap_err();
        assert_eq!(error.causes, [format!("`{here}/none` is not on this machine")]);
        assert!(error.hint.unwrap().contains("operator-location"));
    }

    #[test]
    fn a_repository_of_its_own_lies_below_the_location() {
        let way = Way { location: "rest:https://host/all/".to_owned(), rest: None, s3: None, sftp: None };
        let settings = RepositorySettings {
            guest: way.clone(),
            operator: way.clone(),
            ca: None,
            keep: Keep::default(),
            per_deployment: true,
        };
        let deployment = DeploymentName::new("matrix").unwrap();
        assert_eq!(settings.location(&way, &deployment), "rest:https://host/all/matrix/");
    }
}
