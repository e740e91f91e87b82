//! What an error means for what to do next.

use crate::fingerprint::Fingerprint;

/// What follows from an error. The default for words that are not known is [`Class::Permanent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing was done, and the same request may be sent again later.
    NotSent,
    /// A read failed in passing; it may be repeated.
    Transient,
    /// A write that may or may not have been done, or may still run: look before sending it again.
    Ambiguous,
    /// Somebody was there first.
    Conflict(Conflict),
    /// The caller lacks a right. Proxmox does not always say which.
    Permission { path: Option<String>, privilege: Option<String> },
    /// The thing is not in the state that the request needs.
    State(State),
    /// Proxmox refuses the parameters, see [`crate::Error::errors`].
    Parameters,
    /// The thing itself, or one that the request names, does not exist.
    NotFound(Missing),
    /// The cluster has no quorum: nothing can be changed.
    Quorum,
    /// Wrong or expired credentials; Proxmox does not say which.
    Credentials,
    /// The server's certificate is not the expected one.
    Certificate { presented: Option<Fingerprint> },
    /// A storage is full.
    NoSpace,
    /// A downloaded or uploaded file has another digest than given.
    Checksum,
    /// A task was stopped.
    Aborted,
    /// A task did not end in time; it still runs.
    Deadline,
    /// The server is no Proxmox VE of a supported release.
    Unsupported,
    /// Anything else: the same request will fail again.
    Permanent,
}

/// What was there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The id or name is taken.
    Exists,
    /// Another operation holds a lock; nothing was done.
    Locked,
    /// The configuration changed since it was read.
    Digest,
}

/// What does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// On the node that was asked; it may be on another one.
    Vm,
    Node,
    Storage,
    /// A disk or image.
    Volume,
    Pool,
    Task,
    /// A file, in a guest or on a node.
    File,
    /// Anything else: a snapshot, a user, a disk of a VM.
    Other,
}

/// What a thing is, against what the request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Stopped,
    /// Has `protection` set.
    Protected,
    /// The guest did not stop in time.
    StopTimeout,
    /// No guest agent is configured.
    AgentOff,
    /// The guest agent does not answer, or not yet.
    AgentSilent,
    /// The storage is disabled.
    Disabled,
}

impl Class {
    /// Whether the same request may simply be sent again.
    pub fn is_repeatable(&self) -> bool {
        matches!(self, Self::NotSent | Self::Transient)
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    pub fn is_missing(&self, missing: Missing) -> bool {
        *self == Self::NotFound(missing)
    }

    pub fn is_exists(&self) -> bool {
        *self == Self::Conflict(Conflict::Exists)
    }

    pub fn is_locked(&self) -> bool {
        *self == Self::Conflict(Conflict::Locked)
    }
}
