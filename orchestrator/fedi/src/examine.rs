//! What fedi needs on the operator's machine, and whether it is there: keys, programs,
//! the files that a host's settings name. Looks only.

use std::path::Path;

use fedi_inventory::{FLAKE_PLACEHOLDER, ImageSource};
use fedi_model::inventory::{DnsDriver, HostFile, SystemDriver};
use fedi_model::name::HostName;
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;

/// What was found.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Examination {
    /// What is fine, a line each.
    pub(crate) fine: Vec<String>,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
}

/// Something to put right.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Problem {
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        Self { message: error.message, causes: error.causes, hint: error.hint }
    }
}

impl From<(String, Option<String>)> for Problem {
    fn from((message, hint): (String, Option<String>)) -> Self {
        Self { message, causes: Vec::new(), hint }
    }
}

impl Examination {
    fn add(&mut self, found: Result<String, CommandError>) {
        match found {
            Ok(line) => self.fine.push(line),
            Err(error) => self.problems.push(error.into()),
        }
    }
}

/// What all hosts need.
pub(crate) async fn examine_here(context: &Context) -> Examination {
    let mut found = Examination::default();
    found.add(age_identity(context).await);
    found.add(ssh_key(context));
    found.add(context.store().map(|_| "The journal can be written".to_owned()));
    found.add(program("ssh", "Install OpenSSH's client"));
    found
}

/// What one host needs here.
pub(crate) async fn examine_host(context: &Context, name: &HostName, host: &HostFile) -> Examination {
    let mut found = Examination::default();
    found.add(image(context, name, host));
    match host.system.driver {
        SystemDriver::Nix => {
            found.add(flake(context));
            found.add(context.nix_version().await.map(|version| format!("Systems are built by `{version}`")));
        }
        SystemDriver::Prebuilt => {
            found.add(systems(context, host));
            found.add(program("rsync", "Install rsync"));
        }
    }
    if host.dns.driver == DnsDriver::Octodns {
        found.add(context.dns(name, host).map(|_| "The credentials of its DNS providers can be read".to_owned()));
        found.add(program("python3", "Install Python 3 with its venv module"));
    }
    found
}

async fn age_identity(context: &Context) -> Result<String, CommandError> {
    context.secrets()?.check().await?;
    Ok(format!("Secrets can be read with the age key `{}`", context.folder.age_identity()?.display()))
}

fn ssh_key(context: &Context) -> Result<String, CommandError> {
    for path in [context.folder.ssh_key()?, context.folder.ssh_public_key()?] {
        std::fs::File::open(&path).map_err(|error| {
            CommandError::refused(format!("Failed to read the SSH key `{}`", path.display()))
                .because(&error)
                .hint("Run `fedi init` to make one, or set `ssh.key` in fedi.toml")
        })?;
    }
    Ok(format!("Guests are logged in to with the SSH key `{}`", context.folder.ssh_key()?.display()))
}

fn image(context: &Context, name: &HostName, host: &HostFile) -> Result<String, CommandError> {
    match context.folder.image(host)? {
        ImageSource::Url(url) => Ok(format!("New guests start from `{url}`")),
        ImageSource::File(path) if path.is_file() => Ok(format!("New guests start from `{}`", path.display())),
        ImageSource::File(path) => Err(CommandError::refused(format!("No guest image in `{}`", path.display()))
            .hint(format!("Put one there, or set `image.source` in hosts/{name}/host.toml"))),
    }
}

/// Whether the inventory's flake says where fedi is.
fn flake(context: &Context) -> Result<String, CommandError> {
    let path = context.folder.root().join("flake.nix");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        CommandError::refused(format!("Failed to read `{}`", path.display()))
            .because(&error)
            .hint("Run `fedi init` here to make one")
    })?;
    if text.contains(FLAKE_PLACEHOLDER) {
        return Err(CommandError::refused(format!("`{}` does not say where fedi is", path.display()))
            .hint("Set `inputs.fedi.url` to the repository that you have fedi from"));
    }
    Ok(format!("Systems come from `{}`", path.display()))
}

fn systems(context: &Context, host: &HostFile) -> Result<String, CommandError> {
    match context.folder.system_folder(host)? {
        Some(path) if path.is_dir() => Ok(format!("Systems are in `{}`", path.display())),
        Some(path) => Err(CommandError::refused(format!("No folder `{}` with systems", path.display()))),
        None => Err(CommandError::refused("`system.driver = \"prebuilt\"` needs `system.folder`")),
    }
}

/// Whether a program is on the search path.
fn program(name: &str, hint: &str) -> Result<String, CommandError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file));
    match found {
        Some(file) => Ok(format!("`{name}` is `{}`", file.display())),
        None => Err(CommandError::refused(format!("No program `{name}` on the search path")).hint(hint)),
    }
}

fn is_executable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
}
