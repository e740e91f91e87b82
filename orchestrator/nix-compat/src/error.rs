//! What can go wrong with Nix, sorted by who has to do something about it.

use std::io;

use crate::store_path::StorePath;

/// What can go wrong with Nix.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    /// A program is not installed.
    #[error("Failed to start `{program}`")]
    Missing {
        /// `nix`, `ssh`, ...
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was asked for breaks a rule before Nix was asked.
    #[error("{message}")]
    Invalid {
        /// In words.
        message: String,
    },
    /// The flake does not evaluate.
    #[error("Failed to evaluate `{attribute}`: {message}")]
    Evaluation {
        /// What was evaluated, as `flake#attribute`.
        attribute: String,
        /// Nix's own words, without colours; several lines where there is a trace.
        message: String,
    },
    /// A derivation does not build.
    #[error("Failed to build {}: {message}", derivation.as_ref().map_or("the system".to_owned(), |path| format!("`{path}`")))]
    Build {
        /// The one that failed, where Nix names it.
        derivation: Option<StorePath>,
        /// Nix's own words.
        message: String,
        /// The last lines that its builder wrote.
        log: Vec<String>,
    },
    /// A closure could not be copied.
    #[error("Failed to copy `{path}`: {message}")]
    Copy {
        /// The closure's top.
        path: StorePath,
        /// Nix's own words.
        message: String,
    },
    /// The other machine could not be reached, or is not the one it should be.
    #[error("Failed to reach `{host}` over SSH: {source}")]
    Ssh {
        /// Its name or address.
        host: String,
        /// What is wrong.
        #[source]
        source: SshError,
    },
    /// It took longer than allowed; everything that was started is ended.
    #[error("`{what}` took longer than {seconds} s")]
    Timeout {
        /// The command.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// A command failed in another way.
    #[error("`{what}` failed: {message}")]
    Failed {
        /// The command.
        what: String,
        /// Its own words.
        message: String,
    },
    /// A command's answer does not read.
    #[error("The answer of `{what}` does not read: {message}")]
    Answer {
        /// The command.
        what: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Why a machine could not be reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// It shows another host key than the pinned one.
    #[error("It shows another host key than the one that is pinned")]
    HostKeyChanged,
    /// It refuses the key that was offered.
    #[error("It refuses the login key")]
    Denied,
    /// Nothing answers, or the connection was cut.
    #[error("{0}")]
    Unreachable(String),
}

impl NixError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Missing { program, .. } if program == "ssh" => "Install the OpenSSH client",
            Self::Missing { .. } => "Install Nix 2.8 or newer: https://nixos.org/download (Debian: `nix-bin`)",
            Self::Evaluation { .. } => "Run `nix eval` on it with `--show-trace` for the whole trace",
            Self::Build { .. } => "Run `nix log` on the derivation for the whole log",
            Self::Ssh { source: SshError::HostKeyChanged, .. } => {
                "If the machine was really replaced, pin its new key; if not, somebody is in between"
            }
            Self::Ssh { source: SshError::Denied, .. } => "Check that the machine was made with this login key",
            Self::Copy { message, .. } if message.contains("signature") => {
                "The other machine trusts no key that signed this: log in as root or a trusted user, or sign it"
            }
            Self::Copy { message, .. } if message.contains("No space left") => "Free space on the other machine",
            _ => return None,
        })
    }
}

/// What `ssh` says when there is no connection.
const UNREACHABLE: [&str; 10] = [
    "Connection refused",
    "Connection timed out",
    "Connection reset by",
    "Connection closed by",
    "Could not resolve hostname",
    "No route to host",
    "Network is unreachable",
    "Operation timed out",
    "Broken pipe",
    "not responding",
];

/// What `ssh` wrote, sorted; `None` if it says nothing about the connection.
pub(crate) fn ssh_error(stderr: &str) -> Option<SshError> {
    let has = |text: &str| stderr.contains(text);
    if has("HOST IDENTIFICATION HAS CHANGED") || has("Host key verification failed") || has("host key is known for") {
        return Some(SshError::HostKeyChanged);
    }
    if has("Permission denied (") || has("Too many authentication failures") {
        return Some(SshError::Denied);
    }
    let line = stderr.lines().find(|line| UNREACHABLE.iter().any(|text| line.contains(text)))?;
    Some(SshError::Unreachable(line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_in_its_own_words() {
        let changed =
            "@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@\nHost key verification failed.";
        assert_eq!(ssh_error(changed), Some(SshError::HostKeyChanged));
        let unknown = "No ED25519 host key is known for guest and you have requested strict checking.\nHost key verification failed.";
        assert_eq!(ssh_error(unknown), Some(SshError::HostKeyChanged));
        assert_eq!(ssh_error("root@10.0.0.1: Permission denied (publickey)."), Some(SshError::Denied));
        let refused = "ssh: connect to host 10.0.0.1 port 22: Connection refused\nerror: cannot connect";
        assert!(
            matches!(ssh_error(refused), Some(SshError::Unreachable(line)) if line.ends_with("Connection refused"))
        );
        assert_eq!(ssh_error("error: path '/nix/store/x' is not valid"), None);
    }
}
