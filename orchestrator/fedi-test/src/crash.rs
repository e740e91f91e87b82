//! A store whose process dies at a chosen append.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use fedi_engine::Interrupt;
use fedi_engine::store::{Append, Fence, Holder, LeaseStore, RunRow, RunStore, Store, StoreError, WriterLease};
use fedi_model::plan::Plan;
use fedi_model::run::{RunId, RunRecord};
use jiff::Timestamp;

use crate::delegate::delegate_plain_parts;

/// At which append the process dies; the first is number 1, `planned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashAt {
    /// Before it is written: what it tells of has happened, and nobody knows.
    Before(u64),
    /// When it is durable, and nobody was told.
    After(u64),
    /// Never; appends are only counted.
    Never,
}

/// Any store, whose process dies at a chosen append: nothing that uses the store goes
/// on from there. Whoever drives it drops the run when [`CrashingStore::crashed`]
/// completes, as a kill would.
pub struct CrashingStore {
    inner: Arc<dyn Store>,
    at: CrashAt,
    really: bool,
    appends: AtomicU64,
    dead: AtomicBool,
    crash: Interrupt,
}

impl CrashingStore {
    /// Dies at `at`.
    pub fn new(inner: Arc<dyn Store>, at: CrashAt) -> Self {
        Self {
            inner,
            at,
            really: false,
            appends: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            crash: Interrupt::default(),
        }
    }

    /// Kills this process at `at`, by SIGKILL.
    pub fn killing(inner: Arc<dyn Store>, at: CrashAt) -> Self {
        Self { really: true, ..Self::new(inner, at) }
    }

    /// How many appends there were.
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    /// Completes when it has died.
    pub async fn crashed(&self) {
        self.crash.requested().await;
    }

    async fn alive(&self) {
        if self.dead.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
    }

    async fn die(&self) {
        if self.really {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        self.dead.store(true, Ordering::SeqCst);
        self.crash.request();
        pending::<()>().await;
    }

    async fn append_of<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.alive().await;
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        if self.at == CrashAt::Before(number) {
            self.die().await;
        }
        let result = work.await;
        if self.at == CrashAt::After(number) {
            self.die().await;
        }
        result
    }
}

#[async_trait]
impl RunStore for CrashingStore {
    async fn create_run(&self, fence: Fence, plan: &Plan, at: Timestamp) -> Result<RunId, StoreError> {
        self.append_of(self.inner.create_run(fence, plan, at)).await
    }

    async fn append(&self, append: Append<'_>) -> Result<(), StoreError> {
        self.append_of(self.inner.append(append)).await
    }

    async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.inner.runs().await
    }

    async fn open_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.inner.open_runs().await
    }

    async fn records(&self, run: RunId) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.records(run).await
    }
}

#[async_trait]
impl LeaseStore for CrashingStore {
    async fn lease(&self) -> Result<Option<WriterLease>, StoreError> {
        self.inner.lease().await
    }

    async fn acquire(&self, holder: &Holder, now: Timestamp, over: Option<Fence>) -> Result<Fence, StoreError> {
        self.alive().await;
        self.inner.acquire(holder, now, over).await
    }

    async fn heartbeat(&self, fence: Fence, now: Timestamp) -> Result<(), StoreError> {
        self.alive().await;
        self.inner.heartbeat(fence, now).await
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.alive().await;
        self.inner.release(fence).await
    }
}

delegate_plain_parts!(CrashingStore);
