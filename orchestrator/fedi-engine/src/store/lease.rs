//! One writer at a time.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Holder, StoreError};

/// After how long without a heartbeat a holder counts as dead.
pub const LEASE_EXPIRES: Duration = Duration::from_secs(60);

/// Grows with every holder of the writer lease; what carries an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterLease {
    /// The right to write.
    pub fence: Fence,
    /// Who has it.
    pub holder: Holder,
    /// Since when.
    pub acquired: Timestamp,
    /// The last sign of life.
    pub heartbeat: Timestamp,
}

impl WriterLease {
    /// Whether its holder gave no sign of life for [`LEASE_EXPIRES`].
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.duration_since(self.heartbeat) > jiff::SignedDuration::try_from(LEASE_EXPIRES).unwrap_or_default()
    }
}

impl fmt::Display for WriterLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} holds the writer lease since {:.0}", self.holder, self.acquired)
    }
}

/// Gives the right to write to one process at a time.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Who has the right to write; `None` when it was given back.
    async fn lease(&self) -> Result<Option<WriterLease>, StoreError>;

    /// Takes the right to write, with a fence greater than any before. Refused with
    /// [`StoreError::Held`] while somebody has it, unless that is expired, is `holder`
    /// itself, or carries the fence `over`, whose holder the caller knows to be dead.
    async fn acquire(&self, holder: &Holder, now: Timestamp, over: Option<Fence>) -> Result<Fence, StoreError>;

    /// A sign of life. Refused with [`StoreError::Stale`] when another has the lease.
    async fn heartbeat(&self, fence: Fence, now: Timestamp) -> Result<(), StoreError>;

    /// Gives the right back. What somebody else holds stays theirs.
    async fn release(&self, fence: Fence) -> Result<(), StoreError>;
}
