//! Why state could not be captured, restored or proved: a class for programs, a
//! line for people. Never holds a secret's value.

use std::io;
use std::path::{Path, PathBuf};

/// What kind of failure it is, for whoever decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The system refused a file operation.
    Io,
    /// A disk is full.
    Full,
    /// A program or an extension that is needed is not there.
    Missing,
    /// A program ended badly.
    Tool,
    /// The place to restore into holds something already.
    NotEmpty,
    /// What was found is less than the contract allows.
    Floor,
    /// It changed while it was read.
    Changed,
    /// A snapshot is not what was written.
    Damaged,
    /// Versions, encodings or collations do not fit together.
    Incompatible,
    /// What was restored is not what was captured.
    Differs,
    /// The caller called it off.
    Cancelled,
    /// The repository's password is wrong.
    Password,
    /// Another run holds the repository.
    Locked,
    /// There is no repository or snapshot of that name.
    NotFound,
    /// The other side does not answer.
    Unreachable,
    /// The other side refuses the login, or the right to do this.
    Denied,
    /// The other side is not the one that is known: its key or certificate is another.
    Untrusted,
}

/// Why state could not be captured, restored or proved.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
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
    #[error("`{program}` ended with {status}{}", tail(output))]
    Tool {
        /// Its name.
        program: String,
        /// How it ended, in words.
        status: String,
        /// The last of what it wrote to standard error.
        output: String,
    },
    /// Everything else, by class.
    #[error("{message}")]
    Refused {
        /// For a program.
        class: ErrorClass,
        /// In words.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl StateError {
    /// A refusal in words.
    pub(crate) fn refused(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::Refused { class, message: message.into(), hint: None }
    }

    /// The same with what to do about it.
    pub(crate) fn with_hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Refused { class, message, .. } => Self::Refused { class, message, hint: Some(text.into()) },
            other => other,
        }
    }

    /// For `map_err`: the failure of `action` on `path`.
    pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::refused(ErrorClass::Damaged, message)
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::File { source, .. } if is_full(source) => ErrorClass::Full,
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorClass::Missing,
            Self::File { .. } | Self::Start { .. } => ErrorClass::Io,
            Self::Tool { output, .. } if no_room(output) => ErrorClass::Full,
            Self::Tool { .. } => ErrorClass::Tool,
            Self::Refused { class, .. } => *class,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}

/// What tools say of a full disk: C programs, Go programs, MariaDB by number.
pub(crate) fn no_room(output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    ["no space left on device", "errno: 28", "errno 28", "disk quota exceeded"].iter().any(|text| output.contains(text))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn tail(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}
