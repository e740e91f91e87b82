//! Why the agent could not do something, as a kind, a line and a hint.

use std::io;
use std::path::{Path, PathBuf};

use fedi_state::{ErrorClass, StateError};

use crate::protocol::{Activation, ErrorKind, ErrorReply, Phase, Reason};

/// Lines of output that an error carries.
const LINES: usize = 10;

/// Why the agent could not do something.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file could not be read or written.
    #[error("Failed to {action} `{}`", path.display())]
    File {
        /// The verb: `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of fedi's does not read.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In words, without the file's content.
        what: String,
    },
    /// A program could not be started.
    #[error("Failed to start `{program}`")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program ended badly.
    #[error("`{program}` ended with {status}{}", output_tail(output))]
    Tool {
        /// Its name and subcommand.
        program: String,
        /// How it ended, in words.
        status: String,
        /// The last of what it wrote.
        output: String,
    },
    /// It took longer than allowed.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What.
        what: String,
        /// The limit.
        seconds: u32,
    },
    /// State could not be captured, restored or proved.
    #[error(transparent)]
    State(#[from] StateError),
    /// A rule of its own kind was broken.
    #[error("{message}")]
    Refused {
        /// For a program.
        kind: ErrorKind,
        /// In words.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// An activation did not stay.
    #[error("System `{}` was not kept; {}", activation.system.display(), left(activation))]
    Activation {
        /// Where it ended.
        activation: Box<Activation>,
    },
}

fn output_tail(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// What an activation left, in words.
fn left(activation: &Activation) -> String {
    match (&activation.phase, &activation.previous) {
        (Phase::RollbackFailed { .. }, _) => "neither it nor the earlier system is properly active".to_owned(),
        (_, Some(previous)) => format!("`{}` is active again", previous.display()),
        (_, None) => "there was no earlier system to go back to".to_owned(),
    }
}

/// Why an activation did not stay, outermost first, with the end of its output.
fn causes(phase: &Phase) -> Vec<String> {
    let (reason, second) = match phase {
        Phase::RolledBack { reason } | Phase::RollingBack { reason } => (reason, None),
        Phase::RollbackFailed { reason, error } => (reason, Some(format!("The rollback failed: {error}"))),
        _ => return Vec::new(),
    };
    let mut causes = vec![reason_text(reason)];
    if let Reason::ActivationFailed { output, .. } = reason {
        let lines: Vec<&String> = output.iter().filter(|line| !line.trim().is_empty()).collect();
        causes.extend(lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).clone()));
    }
    causes.extend(second);
    causes
}

/// A reason in words.
pub(crate) fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::ActivationFailed { status, .. } => format!("`switch-to-configuration` ended with {status}"),
        Reason::ActivationTimeout { seconds } => format!("`switch-to-configuration` took longer than {seconds} s"),
        Reason::NotConfirmed { seconds } => format!("Nobody confirmed it within {seconds} s"),
        Reason::Cancelled => "It was cancelled".to_owned(),
        Reason::CommitFailed { error } => format!("It could not be made permanent: {error}"),
        Reason::SupervisorDied => "The supervisor died while it switched".to_owned(),
    }
}

/// A class of the library's as the protocol has it.
fn state_kind(error: &StateError) -> ErrorKind {
    match error.class() {
        ErrorClass::Io => ErrorKind::Io,
        ErrorClass::Full => ErrorKind::DiskFull,
        ErrorClass::Missing if matches!(error, StateError::Start { .. }) => ErrorKind::ToolMissing,
        ErrorClass::Missing | ErrorClass::NotFound => ErrorKind::Missing,
        ErrorClass::Tool => ErrorKind::ToolFailed,
        ErrorClass::NotEmpty => ErrorKind::NotEmpty,
        ErrorClass::Floor => ErrorKind::Floor,
        ErrorClass::Changed => ErrorKind::Changed,
        ErrorClass::Damaged => ErrorKind::Damaged,
        ErrorClass::Incompatible => ErrorKind::Incompatible,
        ErrorClass::Differs => ErrorKind::Differs,
        ErrorClass::Cancelled => ErrorKind::Cancelled,
        ErrorClass::Password => ErrorKind::Password,
        ErrorClass::Locked => ErrorKind::Locked,
        ErrorClass::Unreachable => ErrorKind::Unreachable,
        ErrorClass::Denied => ErrorKind::Denied,
        ErrorClass::Untrusted => ErrorKind::Untrusted,
    }
}

/// What to do where the library does not say.
fn state_hint(class: ErrorClass) -> Option<String> {
    let hint = match class {
        ErrorClass::Full => "Free space on the guest, or where the repository is, then try again",
        ErrorClass::Password => "The repository was made with another password; see which one the secret store has",
        ErrorClass::Unreachable => "See whether the server runs, and whether the guest reaches it",
        ErrorClass::Io | ErrorClass::Tool => {
            "The guest's journal of this moment has what the kernel and the servers said"
        }
        ErrorClass::Missing => "Deploy the guest's system anew: it brings what is needed",
        ErrorClass::NotFound => "`fedi backup list` shows what there is",
        ErrorClass::Damaged => {
            "Try again; if it stays so, take another snapshot, and see what `fedi backup check` says"
        }
        ErrorClass::Incompatible => "Deploy a system that fits the snapshot, or restore another one",
        ErrorClass::Differs => "Clear the place and restore again, or restore another snapshot",
        ErrorClass::NotEmpty => "Restoring goes only into empty places",
        // The library says it itself.
        ErrorClass::Floor
        | ErrorClass::Changed
        | ErrorClass::Locked
        | ErrorClass::Denied
        | ErrorClass::Untrusted
        | ErrorClass::Cancelled => return None,
    };
    Some(hint.to_owned())
}

impl GuestError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn refused(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Refused { kind, message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Refused { kind, message, .. } => Self::Refused { kind, message, hint: Some(hint.into()) },
            other => other,
        }
    }

    /// For a program to act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::Missing,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
                _ => ErrorKind::Io,
            },
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::ToolMissing,
            Self::Start { .. } | Self::Tool { .. } => ErrorKind::ToolFailed,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::State(error) => state_kind(error),
            Self::Refused { kind, .. } => *kind,
            Self::Activation { activation } if matches!(activation.phase, Phase::RollbackFailed { .. }) => {
                ErrorKind::RollbackFailed
            }
            Self::Activation { .. } => ErrorKind::ActivationFailed,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::State(error) => error.hint().map(str::to_owned).or_else(|| state_hint(error.class())),
            Self::File { .. } if self.kind() == ErrorKind::DiskFull => {
                Some("Free space or inodes on the guest (`df -h`, `df -i`), then try again".to_owned())
            }
            Self::File { .. } if self.kind() == ErrorKind::Permission => {
                Some("Run the agent as root on a writable file system".to_owned())
            }
            Self::Start { program, .. } if self.kind() == ErrorKind::ToolMissing => {
                Some(format!("Install `{program}` on the guest"))
            }
            Self::Damaged { .. } => Some("Look at the file on the guest; moved away, fedi writes it anew".to_owned()),
            Self::Activation { .. } if self.kind() == ErrorKind::RollbackFailed => {
                Some("Restart the guest: the earlier system boots, since the new one was not made permanent".to_owned())
            }
            _ => None,
        }
    }

    /// The error as the protocol carries it.
    pub fn reply(&self) -> ErrorReply {
        let mut causes = match self {
            Self::Activation { activation } => causes(&activation.phase),
            _ => Vec::new(),
        };
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        ErrorReply { kind: self.kind(), message: self.to_string(), causes, hint: self.hint() }
    }
}
