//! How a guest says that something did not work.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, for a program to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The line is no message, or the protocol is newer than the guest's.
    Protocol,
    /// The guest's fedi is too old to know the operation.
    Unsupported,
    /// A value in the request breaks a rule.
    Invalid,
    /// Something the request needs does not exist.
    Missing,
    /// No space or no inodes left.
    DiskFull,
    /// The agent may not do this; it is not root, or a file system is read-only.
    Permission,
    /// A file of fedi's on the guest does not read.
    Damaged,
    /// The epoch has been used or passed.
    StaleEpoch,
    /// The request is meant for another guest.
    WrongGuest,
    /// The application's lease is not held here.
    NotHeld,
    /// Another activation, or another operation on the same state, is under way.
    Busy,
    /// The application's lease is held here, so that its state may not be replaced.
    Held,
    /// Processes of the application run, or use its databases.
    Running,
    /// The place to restore into holds something already.
    NotEmpty,
    /// Less was found than the contract allows.
    Floor,
    /// It changed while it was read.
    Changed,
    /// Versions, encodings or collations do not fit together.
    Incompatible,
    /// What was restored is not what was captured.
    Differs,
    /// A repository's password is wrong.
    Password,
    /// Another run holds the repository.
    Locked,
    /// A server does not answer.
    Unreachable,
    /// A server refuses the login, or the right to do this.
    Denied,
    /// A server is not the one that is known.
    Untrusted,
    /// The client called it off.
    Cancelled,
    /// No such activation: never started, or the guest was restarted since.
    UnknownActivation,
    /// The activation is past the point where this could be done.
    TooLate,
    /// The system did not activate; the earlier one is active again.
    ActivationFailed,
    /// The system did not activate, and the earlier one could not be brought back.
    RollbackFailed,
    /// A unit that was started has failed.
    UnitFailed,
    /// It took longer than allowed.
    Timeout,
    /// A program that is needed is not installed.
    ToolMissing,
    /// A program that was run has failed.
    ToolFailed,
    /// Reading or writing failed in another way.
    Io,
    /// A kind that this build does not know.
    #[serde(other)]
    Other,
}

/// The `error` of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// For a program to act on.
    pub kind: ErrorKind,
    /// One line for people. Holds no secret.
    pub message: String,
    /// What led to it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for ErrorReply {}
