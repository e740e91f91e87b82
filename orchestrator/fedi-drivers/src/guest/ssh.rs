//! The `ssh` program, told to trust exactly one key.
//!
//! The pinned key lies in a known-hosts file of its own under an alias that only this
//! guest has, so that neither the operator's known hosts nor a change of address has
//! a say. Nothing secret is ever an argument.

use std::ffi::OsString;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, DriverErrorKind, GuestAccess, GuestSession};
use fedi_model::resource::GuestRef;
use tokio::process::Command;

use super::session::AgentSession;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Reaches guests with the system's `ssh`.
#[derive(Debug, Clone)]
pub struct SshAccess {
    key: PathBuf,
}

impl SshAccess {
    /// Logs in with the private key in the file `key`.
    pub fn new(key: PathBuf) -> Self {
        Self { key }
    }

    /// The first of the guest's addresses that takes connections, with its pinned key.
    pub async fn target(&self, guest: &GuestRef, host_key: &str) -> Result<SshTarget, DriverError> {
        SshTarget::new(guest, reachable(guest).await?, host_key, &self.key)
    }
}

#[async_trait]
impl GuestAccess for SshAccess {
    async fn shown_host_key(&self, guest: &GuestRef) -> Result<Option<String>, DriverError> {
        let Ok(address) = reachable(guest).await else { return Ok(None) };
        let output = Command::new("ssh-keyscan")
            .args(["-t", "ed25519", "-T", "5"])
            .arg(address.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| missing_program("ssh-keyscan", &error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| !line.starts_with('#'));
        Ok(line.and_then(|line| line.split_once(' ')).map(|(_, key)| key.trim().to_owned()))
    }

    async fn open(&self, guest: &GuestRef, host_key: &str) -> Result<Box<dyn GuestSession>, DriverError> {
        let target = self.target(guest, host_key).await?;
        Ok(Box::new(AgentSession::open(target).await?))
    }
}

/// A guest at an address, with the one key that is accepted from it.
#[derive(Debug)]
pub struct SshTarget {
    deployment: String,
    address: IpAddr,
    alias: String,
    key: PathBuf,
    known_hosts: tempfile::NamedTempFile,
}

impl SshTarget {
    pub(super) fn new(guest: &GuestRef, address: IpAddr, host_key: &str, key: &Path) -> Result<Self, DriverError> {
        let deployment = guest.deployment.to_string();
        let failed = |error: &std::io::Error| {
            DriverError::new(DriverErrorKind::Failed, format!("Failed to prepare SSH to the guest `{deployment}`"))
                .because(error)
        };
        if !key.is_file() {
            return Err(DriverError::new(
                DriverErrorKind::Invalid,
                format!("Failed to reach the guest `{deployment}`"),
            )
            .cause(format!("There is no SSH key `{}`", key.display()))
            .hint("Run `fedi init` to make one, or set `ssh.key` in fedi.toml"));
        }
        let alias = format!("fedi-{}", guest.uuid);
        let mut known_hosts = tempfile::NamedTempFile::new().map_err(|error| failed(&error))?;
        writeln!(known_hosts, "{alias} {host_key}").map_err(|error| failed(&error))?;
        known_hosts.flush().map_err(|error| failed(&error))?;
        Ok(Self { deployment, address, alias, key: key.to_owned(), known_hosts })
    }

    /// The deployment, for messages.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// The address that took a connection.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// `root@address`, with brackets around an IPv6 address where a path follows.
    pub fn destination(&self, before_path: bool) -> String {
        match self.address {
            IpAddr::V6(address) if before_path => format!("root@[{address}]"),
            address => format!("root@{address}"),
        }
    }

    /// The key's file.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The file with the pinned key.
    pub fn known_hosts(&self) -> &Path {
        self.known_hosts.path()
    }

    /// Options for `ssh`, before the destination. None needs quoting beyond the paths.
    pub fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> =
            vec!["-F".into(), "none".into(), "-T".into(), "-i".into(), self.key.clone().into()];
        let connect = format!("ConnectTimeout={}", CONNECT.as_secs());
        let alias = format!("HostKeyAlias={}", self.alias);
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts.path().display());
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "CheckHostIP=no",
            "IdentitiesOnly=yes",
            "PasswordAuthentication=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "UpdateHostKeys=no",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "LogLevel=ERROR",
            &connect,
            &alias,
            &known_hosts,
        ] {
            options.push("-o".into());
            options.push(option.into());
        }
        options
    }

    /// A command line of `ssh` with its options, for programs that start it themselves.
    pub fn remote_shell(&self) -> String {
        let words = self.options().into_iter().map(|word| quoted(&word.to_string_lossy()));
        std::iter::once("ssh".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// `ssh` to the guest, to run `command`. In a process group of its own: Ctrl-C is for
    /// fedi, which lets the guest come to a safe point first.
    pub fn command(&self, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.options()).arg(self.destination(false)).arg(command).kill_on_drop(true).process_group(0);
        ssh
    }

    /// What the end of `ssh` means, by what it wrote on stderr.
    pub fn failure(&self, stderr: &str) -> DriverError {
        let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("the connection ended");
        let message = format!("Failed to reach the guest `{}` at {}", self.deployment, self.address);
        if stderr.contains("Host key verification failed") || stderr.contains("HOST IDENTIFICATION HAS CHANGED") {
            return DriverError::new(DriverErrorKind::Foreign, message)
                .cause("It shows another SSH host key than the one that fedi pinned")
                .hint(format!(
                    "Somebody may stand between; if the guest was really made anew, run `fedi destroy {0}` and `fedi deploy {0}`",
                    self.deployment
                ));
        }
        if stderr.contains("Permission denied") {
            return DriverError::new(DriverErrorKind::Denied, message)
                .cause(last)
                .hint(format!("The guest does not know the key `{}`", self.key.display()));
        }
        if stderr.contains("fedi-guest: ") && stderr.contains("not found") {
            return DriverError::new(DriverErrorKind::Invalid, message)
                .cause("It has no `fedi-guest`")
                .hint("Its image is none of fedi's; see `image.source` in host.toml");
        }
        DriverError::new(DriverErrorKind::Unavailable, message).cause(last)
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// The first address whose SSH port takes a connection.
async fn reachable(guest: &GuestRef) -> Result<IpAddr, DriverError> {
    let mut error =
        DriverError::new(DriverErrorKind::Unavailable, format!("Failed to reach the guest `{}`", guest.deployment));
    for address in &guest.addresses {
        match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect((*address, 22))).await {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(reason)) => error = error.cause(format!("{address} port 22: {reason}")),
            Err(_) => error = error.cause(format!("{address} port 22: no answer within {} s", CONNECT.as_secs())),
        }
    }
    Err(error)
}

pub(super) fn missing_program(program: &str, error: &std::io::Error) -> DriverError {
    DriverError::new(DriverErrorKind::Invalid, format!("Failed to run `{program}`"))
        .because(error)
        .hint("Install the OpenSSH client")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedi_model::name::{DeploymentName, HostName};

    fn target() -> SshTarget {
        let guest = GuestRef {
            deployment: DeploymentName::new("matrix").unwrap(),
            host: HostName::new("here").unwrap(),
            uuid: uuid::Uuid::nil(),
            addresses: vec![],
        };
        let key = tempfile::NamedTempFile::new().unwrap();
        SshTarget::new(&guest, "::1".parse().unwrap(), "ssh-ed25519 AAAA", key.path()).unwrap()
    }

    #[test]
    fn trusts_one_key_and_asks_nobody() {
        let target = target();
        let known = std::fs::read_to_string(target.known_hosts()).unwrap();
        assert_eq!(known, format!("fedi-{} ssh-ed25519 AAAA\n", uuid::Uuid::nil()));
        let shell = target.remote_shell();
        assert!(shell.contains("StrictHostKeyChecking=yes") && shell.contains("BatchMode=yes"), "{shell}");
        assert_eq!(target.destination(true), "root@[::1]");
    }

    #[test]
    fn tells_a_changed_key_from_a_dead_guest() {
        let target = target();
        assert_eq!(target.failure("Host key verification failed.\n").kind, DriverErrorKind::Foreign);
        assert_eq!(target.failure("root@::1: Permission denied (publickey).").kind, DriverErrorKind::Denied);
        assert_eq!(target.failure("connect: Connection refused").kind, DriverErrorKind::Unavailable);
        assert_eq!(target.failure("bash: fedi-guest: command not found").kind, DriverErrorKind::Invalid);
    }

    #[test]
    fn quotes_what_a_shell_would_split() {
        assert_eq!(quoted("a b'c"), "'a b'\\''c'");
        assert_eq!(quoted("/a-b.c"), "/a-b.c");
    }
}
