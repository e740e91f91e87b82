//! Repositories of the inventory with their credentials read.

use fedi_drivers::repository::{RepositorySettings, Way};
use fedi_engine::drivers::{DriverError, DriverErrorKind, RestLogin, S3Access, SecretValue, SftpAccess};
use fedi_inventory::Folder;
use fedi_model::inventory::{Credential, RepositoryCredentials, Retention, Tls};
use fedi_model::name::RepositoryName;
use fedi_state::repository::Keep;

/// The settings of a repository, its credentials read.
pub(crate) fn settings(folder: &Folder, name: &RepositoryName) -> Result<RepositorySettings, DriverError> {
    let failed = || DriverError::new(DriverErrorKind::Invalid, format!("Failed to use the repository `{name}`"));
    let Some(file) = folder.fedi().backups.get(name) else {
        return Err(failed()
            .cause("The inventory does not have it any more")
            .hint(format!("Put `[backups.{name}]` back into fedi.toml")));
    };
    let ca = match &file.ca_file {
        Some(path) => {
            let path = folder.ca_file(&Tls::Ca(path.clone())).map_err(|error| failed().because(&error))?;
            let read = path.map(|path| {
                std::fs::read_to_string(&path).map_err(|error| {
                    failed().cause(format!("The CA file `{}` cannot be read", path.display())).because(&error)
                })
            });
            read.transpose()?
        }
        None => None,
    };
    let guest = way(folder, name, &file.location, file.credentials.as_ref())?;
    let place = file.operator_location.as_ref().unwrap_or(&file.location);
    // Who reaches another place over SSH does so as its user: a guest's key is not for that.
    let shared = file.credentials.as_ref().filter(|credentials| {
        file.operator_location.is_none() || !matches!(credentials, RepositoryCredentials::Ssh { .. })
    });
    let shared = shared.filter(|credentials| goes_with(credentials, place));
    let operator = way(folder, name, place, file.operator_credentials.as_ref().or(shared))?;
    Ok(RepositorySettings { guest, operator, ca, keep: keep(file.keep), per_deployment: file.per_deployment })
}

/// Whether credentials are of the kind that a location takes.
fn goes_with(credentials: &RepositoryCredentials, location: &str) -> bool {
    location.starts_with(match credentials {
        RepositoryCredentials::Login { .. } => "rest:",
        RepositoryCredentials::Keys { .. } => "s3:",
        RepositoryCredentials::Ssh { .. } => "sftp:",
    })
}

fn way(
    folder: &Folder,
    name: &RepositoryName,
    location: &str,
    credentials: Option<&RepositoryCredentials>,
) -> Result<Way, DriverError> {
    let read = |credential: &Credential| {
        folder.credential(credential).map_err(|error| {
            let made = DriverError::new(DriverErrorKind::Invalid, format!("Failed to use the repository `{name}`"))
                .because(&error);
            match error.hint() {
                Some(hint) => made.hint(hint),
                None => made,
            }
        })
    };
    let secret = |credential: &Credential| Ok(SecretValue::new(read(credential)?.expose().as_bytes().to_vec()));
    let mut way = Way { location: location.to_owned(), rest: None, s3: None, sftp: None };
    match credentials {
        None => {}
        Some(RepositoryCredentials::Login { user, password }) => {
            way.rest = Some(RestLogin { user: user.clone(), password: secret(password)? });
        }
        Some(RepositoryCredentials::Keys { id, secret: half, region }) => {
            let id = read(id)?.expose().to_owned();
            way.s3 = Some(S3Access { id, secret: secret(half)?, region: region.clone() });
        }
        Some(RepositoryCredentials::Ssh { key, known_hosts }) => {
            way.sftp = Some(SftpAccess { private_key: secret(key)?, known_hosts: known_hosts.clone() });
        }
    }
    Ok(way)
}

fn keep(rules: Retention) -> Keep {
    let number = |rule: u32| usize::try_from(rule).unwrap_or(usize::MAX);
    Keep {
        last: number(rules.last),
        daily: number(rules.daily),
        weekly: number(rules.weekly),
        monthly: number(rules.monthly),
    }
}
