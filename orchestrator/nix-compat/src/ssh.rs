//! SSH to one machine whose host key is known: a configuration file that names the
//! machine, the login key and the only host key that is accepted.
//!
//! Nix splits `NIX_SSHOPTS` at white space, so all it gets is `-F <file>`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{self, Finished};
use crate::error::{NixError, ssh_error};
use crate::log::Log;
use crate::profile::Runner;

/// The name that the configuration file gives the machine; Nix's store URIs have
/// had changing ideas of ports and IPv6 addresses, but all take a name.
const ALIAS: &str = "nix-target";

/// A machine to log in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// Its address.
    pub address: IpAddr,
    /// Port of its sshd.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// File of the login key.
    pub identity: PathBuf,
    /// Its host keys, as `ssh-ed25519 AAAA...`. No others are accepted.
    pub host_keys: Vec<String>,
}

/// A machine that can be logged in to; its files are gone when dropped.
#[derive(Debug)]
pub struct SshTarget {
    host: SshHost,
    folder: TempDir,
}

impl SshTarget {
    /// Writes down how to reach the machine.
    pub fn new(host: SshHost) -> Result<Self, NixError> {
        let invalid = |message: String| NixError::Invalid { message };
        if host.user.is_empty() || !host.user.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
            return Err(invalid(format!("`{}` is no user name", host.user.escape_default())));
        }
        let fields = |key: &String| key.split_whitespace().count() >= 2 && !key.contains(char::is_control);
        if host.host_keys.is_empty() || !host.host_keys.iter().all(fields) {
            return Err(invalid("A host key is needed, as `ssh-ed25519 AAAA...`".to_owned()));
        }
        let identity = host.identity.to_str().filter(|path| !path.contains(['"', '\n']));
        let Some(identity) = identity else {
            return Err(invalid(format!("`{}` cannot be named to ssh", host.identity.display())));
        };
        let failed = |error: std::io::Error| NixError::Failed { what: "ssh".to_owned(), message: error.to_string() };
        let folder = tempfile::Builder::new().prefix("nix-ssh-").tempdir().map_err(failed)?;
        if folder.path().to_string_lossy().contains(char::is_whitespace) {
            let message = format!("`{}` has white space, which NIX_SSHOPTS cannot carry", folder.path().display());
            return Err(invalid(message + "; set TMPDIR to another folder"));
        }
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(text.as_bytes())
        };
        let known: String = host.host_keys.iter().fold(String::new(), |text, key| text + ALIAS + " " + key + "\n");
        write("known_hosts", &known).map_err(failed)?;
        let known_hosts = folder.path().join("known_hosts");
        let config = format!(
            "Host {ALIAS}\n  HostName {}\n  Port {}\n  User {}\n  HostKeyAlias {ALIAS}\n  IdentityFile \"{identity}\"\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
             StrictHostKeyChecking yes\n  UpdateHostKeys no\n  CheckHostIP no\n  BatchMode yes\n  ForwardAgent no\n  \
             ForwardX11 no\n  ConnectTimeout 10\n  ServerAliveInterval 15\n  ServerAliveCountMax 4\n  LogLevel ERROR\n",
            host.address,
            host.port,
            host.user,
            known_hosts.display(),
        );
        write("config", &config).map_err(failed)?;
        Ok(Self { host, folder })
    }

    /// Address and port, for messages.
    pub(crate) fn describe(&self) -> String {
        format!("{}@{}", self.host.user, self.host.address)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// What Nix's variable `NIX_SSHOPTS` has to say.
    pub(crate) fn nix_options(&self) -> String {
        format!("-F {}", self.config().display())
    }

    /// The machine as Nix's store URIs name it.
    pub(crate) fn name(&self) -> String {
        format!("{}@{ALIAS}", self.host.user)
    }

    /// The error of a command whose log speaks of the connection.
    pub(crate) fn error(&self, log: &str) -> Option<NixError> {
        Some(NixError::Ssh { host: self.describe(), source: ssh_error(log)? })
    }
}

impl Runner for SshTarget {
    async fn run(&self, words: &[&str], limit: Duration) -> Result<String, NixError> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.config()).arg(ALIAS).arg("--").arg(shell_words(words));
        let mut log = Log::default();
        let Finished { status, stdout } = command::run(ssh, limit, &mut |line| log.take(line, &mut |_| {})).await?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        // ssh(1): 255 if the connection failed.
        let own = (status.code() == Some(255)).then(|| self.error(&log.plain())).flatten();
        Err(own.unwrap_or_else(|| NixError::Failed { what: words.join(" "), message: log.message() }))
    }
}

/// Words as one line for the login shell of the other side.
fn shell_words(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host() -> SshHost {
        SshHost {
            address: "fd00::2".parse().unwrap(),
            port: 2222,
            user: "root".to_owned(),
            identity: "/srv/my keys/id".into(),
            host_keys: vec!["ssh-ed25519 AAAA".to_owned()],
        }
    }

    #[test]
    fn only_the_pinned_key_counts() {
        let target = SshTarget::new(host()).unwrap();
        let config = std::fs::read_to_string(target.config()).unwrap();
        for line in ["HostName fd00::2", "Port 2222", "StrictHostKeyChecking yes", "IdentityFile \"/srv/my keys/id\""] {
            assert!(config.contains(line), "{line}");
        }
        let known = std::fs::read_to_string(target.folder.path().join("known_hosts")).unwrap();
        assert_eq!(known, "nix-target ssh-ed25519 AAAA\n");
        assert_eq!(target.nix_options().split_whitespace().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_down_is_refused() {
        for bad in [
            SshHost { user: "-oProxyCommand=x".replace('=', " "), ..host() },
            SshHost { user: String::new(), ..host() },
            SshHost { host_keys: Vec::new(), ..host() },
            SshHost { host_keys: vec!["ssh-ed25519 AAAA\n* ssh-ed25519 BBBB".to_owned()], ..host() },
            SshHost { identity: "/a\"\nProxyCommand x".into(), ..host() },
        ] {
            assert!(SshTarget::new(bad.clone()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// What the other side's shell makes of the line is what was asked for.
        #[test]
        fn words_survive_a_shell(words in prop::collection::vec("[^\0]*", 1..4)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let line = format!("printf '%s\\0' {}", shell_words(&words));
            let output = std::process::Command::new("/bin/sh").arg("-c").arg(line).output().unwrap();
            let expected: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
    }
}
