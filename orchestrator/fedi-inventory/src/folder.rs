//! The inventory as a folder on disk: finds it, reads it whole, and knows where the
//! files that it speaks of are.

use std::path::{Path, PathBuf};

use fedi_model::inventory::{Credential, Deployment, FediFile, HostFile, Inventory, Tls};
use fedi_model::{DeploymentName, HostName};

use crate::check::check_across;
use crate::credential::{self, CredentialError, CredentialText};
use crate::environment::{Environment, PathError};
use crate::problem::Problems;
use crate::read;
use crate::suggest::suggestion;

/// The file that marks the root of an inventory.
pub const ROOT_FILE: &str = "fedi.toml";

/// An inventory, read and checked.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    environment: Environment,
    inventory: Inventory,
}

/// Why there is no inventory to work with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No `fedi.toml` here or above.
    #[error("No `{ROOT_FILE}` in `{}` or any folder above it", start.display())]
    NotFound {
        /// Where the search began.
        start: PathBuf,
    },
    /// It has mistakes.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl LoadError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("Run `fedi init` to make an inventory here, or change to the folder that holds one".to_owned())
            }
            Self::Problems(_) => None,
        }
    }
}

/// A host or deployment that the inventory does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("No {kind} is called `{name}`")]
pub struct Unknown {
    /// `host` or `deployment`.
    pub kind: &'static str,
    /// The name as given.
    pub name: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where the guest image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A file here.
    File(PathBuf),
    /// A URL that the hypervisor fetches.
    Url(String),
}

impl Folder {
    /// The root of the inventory that `start` lies in: the nearest folder upwards
    /// with a `fedi.toml`.
    pub fn find(start: &Path) -> Result<PathBuf, LoadError> {
        let found = start.ancestors().find(|folder| folder.join(ROOT_FILE).is_file());
        found.map(Path::to_owned).ok_or_else(|| LoadError::NotFound { start: start.to_owned() })
    }

    /// Reads the inventory at `root`, or tells everything that is wrong with it.
    pub fn load(root: &Path, environment: Environment) -> Result<Self, LoadError> {
        if !root.join(ROOT_FILE).is_file() {
            return Err(LoadError::NotFound { start: root.to_owned() });
        }
        let (files, mut problems) = read::read(root);
        check_across(&files, &mut problems);
        Problems::check(problems)?;
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let inventory = files.into_inventory().ok_or_else(|| LoadError::NotFound { start: root.clone() })?;
        Ok(Self { root, environment, inventory })
    }

    /// Its root, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it says.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// `fedi.toml`.
    pub fn fedi(&self) -> &FediFile {
        &self.inventory.fedi
    }

    /// The environment that its paths and credentials are read in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The host of that name, or the nearest name.
    pub fn host(&self, name: &str) -> Result<(&HostName, &HostFile), Unknown> {
        let hosts = &self.inventory.hosts;
        let found = HostName::new(name).ok().and_then(|name| hosts.get_key_value(&name));
        found.ok_or_else(|| {
            let hint = suggestion(name, hosts.keys().map(HostName::as_str));
            let none = || Some(format!("Run `fedi host add {name}` to describe one"));
            Unknown { kind: "host", name: name.to_owned(), hint: hint.or_else(none) }
        })
    }

    /// The deployment of that name, or the nearest name.
    pub fn deployment(&self, name: &str) -> Result<&Deployment, Unknown> {
        let deployments = &self.inventory.deployments;
        let found = DeploymentName::new(name).ok().and_then(|name| deployments.get(&name));
        found.ok_or_else(|| {
            let hint = suggestion(name, deployments.keys().map(DeploymentName::as_str));
            let none = || Some(format!("Run `fedi deploy --host <host> {name} --domain <domain>` to make one"));
            Unknown { kind: "deployment", name: name.to_owned(), hint: hint.or_else(none) }
        })
    }

    /// The host that a deployment lies under. A checked inventory always has it.
    pub fn host_of(&self, deployment: &Deployment) -> Option<&HostFile> {
        self.inventory.hosts.get(&deployment.host)
    }

    /// The folder of the journal.
    pub fn state_dir(&self) -> Result<PathBuf, PathError> {
        if let Some(folder) = &self.fedi().state.folder {
            return self.environment.resolve(&self.root, folder);
        }
        if let Some(folder) = self.environment.variable("FEDI_STATE_DIR") {
            return Ok(PathBuf::from(folder));
        }
        let state = self.environment.resolve(&self.root, "~/.local/state/fedi")?;
        Ok(state.join(&self.fedi().name))
    }

    /// The folder of the encrypted secrets.
    pub fn secrets_dir(&self) -> Result<PathBuf, PathError> {
        match &self.fedi().secrets.folder {
            Some(folder) => self.environment.resolve(&self.root, folder),
            None => Ok(self.state_dir()?.join("secrets")),
        }
    }

    /// The age identity that secrets are decrypted with.
    pub fn age_identity(&self) -> Result<PathBuf, PathError> {
        self.in_config(&self.fedi().secrets.identity)
    }

    /// The private key that fedi logs in to guests with.
    pub fn ssh_key(&self) -> Result<PathBuf, PathError> {
        self.in_config(&self.fedi().ssh.key)
    }

    /// The public half of [`Self::ssh_key`].
    pub fn ssh_public_key(&self) -> Result<PathBuf, PathError> {
        let mut path = self.ssh_key()?.into_os_string();
        path.push(".pub");
        Ok(path.into())
    }

    /// Where the guest image of a host comes from.
    pub fn image(&self, host: &HostFile) -> Result<ImageSource, PathError> {
        let source = &host.image.source;
        if source.starts_with("https://") {
            return Ok(ImageSource::Url(source.clone()));
        }
        Ok(ImageSource::File(self.environment.resolve(&self.root, source)?))
    }

    /// The folder of prebuilt systems of a host, where it has one.
    pub fn system_folder(&self, host: &HostFile) -> Result<Option<PathBuf>, PathError> {
        host.system.folder.as_deref().map(|folder| self.environment.resolve(&self.root, folder)).transpose()
    }

    /// The file of the certificate authority that a host's API is recognised by, where
    /// it is one.
    pub fn ca_file(&self, tls: &Tls) -> Result<Option<PathBuf>, PathError> {
        match tls {
            Tls::Ca(file) => Ok(Some(self.in_config(file)?)),
            Tls::Fingerprints(_) | Tls::System => Ok(None),
        }
    }

    /// Reads a credential.
    pub fn credential(&self, credential: &Credential) -> Result<CredentialText, CredentialError> {
        credential::read(credential, &self.environment)
    }

    /// A path that starts at fedi's configuration folder.
    fn in_config(&self, text: &str) -> Result<PathBuf, PathError> {
        if text.starts_with(['/', '~', '$']) {
            return self.environment.resolve(&self.root, text);
        }
        Ok(self.environment.config_dir()?.join(text))
    }

    /// Where a deployment's file lies below the root:
    /// `hosts/<host>/deployments/<name>.toml`.
    pub fn deployment_path(host: &HostName, name: &DeploymentName) -> PathBuf {
        read::deployment_file(Path::new(""), host, name)
    }

    /// Where a host's file lies below the root: `hosts/<host>/host.toml`.
    pub fn host_path(host: &HostName) -> PathBuf {
        read::host_dir(Path::new(""), host).join("host.toml")
    }
}
