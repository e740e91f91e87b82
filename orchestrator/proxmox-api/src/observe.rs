//! A hook that sees every request, for benches, tests and logs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use proxmox_schema::Method;

/// One request that was sent, or tried to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub method: Method,
    /// The path with placeholders, such as `/nodes/{node}/qemu`.
    pub template: &'static str,
    /// The path itself, below `/api2/json`.
    pub path: String,
    /// 1, or more for a repetition.
    pub attempt: u32,
    /// None if no answer came.
    pub status: Option<u16>,
    pub took: Duration,
}

/// Sees every request after its answer. Must not block.
pub trait Observer: Send + Sync {
    fn sent(&self, sent: &Sent);
}

/// Counts requests.
#[derive(Debug, Default)]
pub struct Counter {
    counts: Mutex<BTreeMap<(Method, &'static str), u64>>,
}

impl Counter {
    /// All requests so far.
    pub fn total(&self) -> u64 {
        self.counts().values().sum()
    }

    /// The requests so far, by method and path.
    pub fn counts(&self) -> BTreeMap<(Method, &'static str), u64> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Observer for Counter {
    fn sent(&self, sent: &Sent) {
        let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *counts.entry((sent.method, sent.template)).or_default() += 1;
    }
}
