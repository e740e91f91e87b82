//! What went wrong, where, and what follows.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;

use proxmox_schema::{Method, Upid};

use crate::class::{Class, Missing};

/// Why a request or task failed.
///
/// Displayed, it says what happened; its sources say why, in Proxmox's words, without repeating it.
pub struct Error(Box<Inner>);

struct Inner {
    class: Class,
    during: During,
    status: Option<u16>,
    errors: BTreeMap<String, String>,
    reason: Reason,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum During {
    Request {
        method: Method,
        path: String,
    },
    Task(Box<Upid>),
    /// Before anything was sent: options, a file to upload.
    Preparation,
}

/// The words for why; a source of [`Error`].
#[derive(Debug)]
pub struct Reason {
    text: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(class: Class, during: During, text: impl Into<String>) -> Self {
        let reason = Reason { text: text.into(), cause: None };
        Self(Box::new(Inner { class, during, status: None, errors: BTreeMap::new(), reason }))
    }

    pub(crate) fn preparation(text: impl Into<String>) -> Self {
        Self::new(Class::Permanent, During::Preparation, text)
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_errors(mut self, errors: BTreeMap<String, String>) -> Self {
        self.0.errors = errors;
        self
    }

    pub(crate) fn with_cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.reason.cause = Some(cause.into());
        self
    }

    /// What follows from it.
    pub fn class(&self) -> &Class {
        &self.0.class
    }

    /// The status of the answer; none if there was no answer, or it is about a task.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Proxmox's own words, or ours where it did not answer.
    pub fn message(&self) -> &str {
        &self.0.reason.text
    }

    /// What is wrong with which parameter, if it was that.
    pub fn errors(&self) -> &BTreeMap<String, String> {
        &self.0.errors
    }

    pub fn during(&self) -> &During {
        &self.0.during
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        match (&inner.during, &inner.class, inner.status) {
            (During::Preparation, ..) => f.write_str("The request could not be prepared"),
            (During::Task(upid), Class::Deadline, _) => write!(f, "The task `{}` takes too long", upid.kind),
            (During::Task(upid), Class::Aborted, _) => write!(f, "The task `{}` was stopped", upid.kind),
            (During::Task(upid), ..) => write!(f, "The task `{}` failed", upid.kind),
            (_, Class::Certificate { .. }, _) => f.write_str("The server is not the expected one"),
            (_, Class::Unsupported, _) => f.write_str("The server cannot be used"),
            (_, Class::Ambiguous, _) => f.write_str("Proxmox may or may not have carried out the request"),
            (_, Class::Credentials, _) => f.write_str("Proxmox refused the credentials (401)"),
            (_, _, None) => f.write_str("Proxmox could not be reached"),
            (_, Class::NotSent | Class::Transient, Some(status)) => {
                write!(f, "Proxmox could not answer the request ({status})")
            }
            (.., Some(status)) => write!(f, "Proxmox refused the request ({status})"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0.reason)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("class", &self.0.class)
            .field("during", &self.0.during)
            .field("status", &self.0.status)
            .field("errors", &self.0.errors)
            .field("reason", &self.0.reason)
            .finish()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Reason {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Such a thing that does not exist is nothing, not an error; another one that is missing still is.
pub(crate) fn absent<T>(answer: Result<T, Error>, missing: Missing) -> Result<Option<T>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.class().is_missing(missing) => Ok(None),
        Err(error) => Err(error),
    }
}
