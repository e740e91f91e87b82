//! Repositories of the inventory with their credentials read.

use fedi_drivers::repository::{RepositorySettings, Way};
use fedi_engine::drivers::{DriverError, DriverErrorKind, RestLogin, S3Access, SecretValue, SftpAccess};
use fedi_inventory::Folder;
use fedi_model::inventory::{Credential, RepositoryCredentials, Tls};
use fedi_model::name::RepositoryName;

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
    Ok(RepositorySettings { guest, operator, ca, keep: file.keep.into(), per_deployment: file.per_deployment })
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

#[cfg(test)]
mod tests {
    use fedi_inventory::Environment;

    use super::*;

    /// An inventory with that repository, `main`, and credentials in the configuration folder.
    fn inventory(main: &str) -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("inventory/fedi.toml", &format!("name = \"test\"\n[backups.main]\n{main}"), 0o644);
        for name in ["guest", "operator", "id", "half", "key"] {
            write(&format!("config/{name}"), &format!("of {name}\n"), 0o600);
        }
        write("config/open", "of all\n", 0o644);
        write("config/ca.pem", "a certificate\n", 0o644);
        let variables = [("FEDI_CONFIG_DIR", "config"), ("FEDI_STATE_DIR", "state"), ("HOME", "home")];
        let variables = variables.map(|(name, path)| (name.to_owned(), root.path().join(path).display().to_string()));
        let folder = Folder::load(&root.path().join("inventory"), Environment::fixed(variables));
        let folder = folder.map_err(|error| error.to_string()).unwrap();
        (root, folder)
    }

    fn read(main: &str) -> Result<RepositorySettings, DriverError> {
        let (_root, folder) = inventory(main);
        settings(&folder, &RepositoryName::new("main").unwrap())
    }

    fn login(way: &Way) -> Option<(String, Vec<u8>)> {
        way.rest.as_ref().map(|login| (login.user.clone(), login.password.expose().to_vec()))
    }

    #[test]
    fn a_path_needs_nothing() {
        let settings = read("location = \"/srv/backup\"\n").unwrap();
        for way in [&settings.guest, &settings.operator] {
            assert_eq!(way.location, "/srv/backup");
            assert!(way.rest.is_none() && way.s3.is_none() && way.sftp.is_none());
        }
        assert!(!settings.per_deployment && settings.ca.is_none());
        assert_eq!(
            (settings.keep.last, settings.keep.daily, settings.keep.weekly, settings.keep.monthly),
            (3, 7, 5, 12)
        );
    }

    #[test]
    fn guest_and_operator_log_in_as_themselves() {
        let settings = read(
            "location = \"rest:https://host:8443/main/\"\n\
             credentials = { login = { user = \"guest\", password = { file = \"guest\" } } }\n\
             operator-location = \"rest:https://host:8444/main/\"\n\
             operator-credentials = { login = { user = \"operator\", password = { file = \"operator\" } } }\n\
             ca-file = \"ca.pem\"\nper-deployment = true\nkeep = { last = 1, daily = 0, weekly = 0, monthly = 2 }\n",
        )
        .unwrap();
        assert_eq!(settings.guest.location, "rest:https://host:8443/main/");
        assert_eq!(login(&settings.guest), Some(("guest".to_owned(), b"of guest".to_vec())));
        assert_eq!(settings.operator.location, "rest:https://host:8444/main/");
        assert_eq!(login(&settings.operator), Some(("operator".to_owned(), b"of operator".to_vec())));
        assert_eq!(settings.ca.as_deref(), Some("a certificate\n"));
        assert!(settings.per_deployment);
        assert_eq!((settings.keep.last, settings.keep.monthly), (1, 2));
    }

    #[test]
    fn without_credentials_of_its_own_the_operator_has_the_guests() {
        let keys =
            "credentials = { keys = { id = { file = \"id\" }, secret = { file = \"half\" }, region = \"garage\" } }\n";
        let settings = read(&format!("location = \"s3:https://host/bucket\"\n{keys}")).unwrap();
        for way in [&settings.guest, &settings.operator] {
            let found = way.s3.as_ref().unwrap();
            assert_eq!((found.id.as_str(), found.region.as_str()), ("of id", "garage"));
            assert_eq!(found.secret.expose(), b"of half");
        }
        // At a place of another kind they say nothing.
        let there = "operator-location = \"/srv/backup\"\n";
        let settings = read(&format!("location = \"s3:https://host/bucket\"\n{keys}{there}")).unwrap();
        assert!(settings.guest.s3.is_some() && settings.operator.s3.is_none());
    }

    #[test]
    fn a_guests_ssh_key_opens_no_other_place() {
        let ssh = "credentials = { ssh = { key = { file = \"key\" }, known-hosts = \"host ssh-ed25519 AAAA\" } }\n";
        let settings = read(&format!("location = \"sftp:guest@host:/main\"\n{ssh}")).unwrap();
        assert_eq!(settings.operator.sftp.unwrap().private_key.expose(), b"of key");
        let there = "operator-location = \"sftp:root@host:/main\"\n";
        let settings = read(&format!("location = \"sftp:guest@host:/main\"\n{ssh}{there}")).unwrap();
        assert!(settings.guest.sftp.is_some() && settings.operator.sftp.is_none());
    }

    #[test]
    fn what_cannot_be_read_is_told_without_a_value() {
        let with = |file: &str| {
            read(&format!(
                "location = \"rest:https://host/\"\n\
                 credentials = {{ login = {{ user = \"guest\", password = {{ file = \"{file}\" }} }} }}\n"
            ))
        };
        for file in ["missing", "open"] {
            let error = with(file).unwrap_err();
            assert_eq!(error.kind, DriverErrorKind::Invalid);
            assert_eq!(error.message, "Failed to use the repository `main`");
            let said = format!("{error:?}");
            assert!(said.contains(file) && !said.contains("of all"), "{said}");
            assert!(error.hint.is_some(), "{said}");
        }
        let error = read("location = \"rest:https://host/\"\nca-file = \"no.pem\"\n").unwrap_err();
        assert!(error.causes[0].contains("no.pem"), "{error:?}");
    }

    #[test]
    fn a_repository_that_the_inventory_lost() {
        let (_root, folder) = inventory("location = \"/srv/backup\"\n");
        let error = settings(&folder, &RepositoryName::new("other").unwrap()).unwrap_err();
        assert!(error.hint.unwrap().contains("[backups.other]"));
    }
}
