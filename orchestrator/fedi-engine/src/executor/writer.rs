//! The writer lease while an engine has runs going.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::store::{Fence, Holder, LEASE_EXPIRES, Store, StoreError};

/// The right to write, kept alive in the background.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) fence: Fence,
    /// Requested when somebody else has the lease.
    pub(crate) lost: Interrupt,
    heartbeat: JoinHandle<()>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// The writer of an engine: taken by its first run, given back by its last.
#[derive(Debug, Default)]
pub(crate) struct Writers(tokio::sync::Mutex<Weak<Writer>>);

impl Writers {
    pub(crate) async fn join(
        &self,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        holder: &Holder,
        every: Duration,
    ) -> Result<Arc<Writer>, StoreError> {
        let mut current = self.0.lock().await;
        if let Some(writer) = current.upgrade().filter(|writer| !writer.lost.is_requested()) {
            return Ok(writer);
        }
        let fence = acquire(store.as_ref(), clock.as_ref(), holder).await?;
        let lost = Interrupt::default();
        let heartbeat = tokio::spawn(beat(store.clone(), clock.clone(), fence, lost.clone(), every));
        let writer = Arc::new(Writer { fence, lost, heartbeat });
        *current = Arc::downgrade(&writer);
        Ok(writer)
    }

    /// Gives the lease back if this was the last to use it. A run whose future is
    /// dropped never comes here: its lease stays until it expires or its process is gone,
    /// and this engine may take it again.
    pub(crate) async fn leave(&self, store: &dyn Store, writer: Arc<Writer>) {
        // Held meanwhile, so that nobody joins what is being given back.
        let _current = self.0.lock().await;
        if let Some(writer) = Arc::into_inner(writer)
            && let Err(error) = store.release(writer.fence).await
        {
            tracing::warn!(%error, "the writer lease was not given back");
        }
    }
}

/// Takes the lease, also from a process of this machine that is gone.
async fn acquire(store: &dyn Store, clock: &dyn Clock, holder: &Holder) -> Result<Fence, StoreError> {
    match store.acquire(holder, clock.now(), None).await {
        Err(StoreError::Held(lease)) if holder.knows_dead(&lease.holder) => {
            store.acquire(holder, clock.now(), Some(lease.fence)).await
        }
        result => result,
    }
}

/// Renews the lease until it is lost, or could not be renewed for so long that others
/// may take it.
async fn beat(store: Arc<dyn Store>, clock: Arc<dyn Clock>, fence: Fence, lost: Interrupt, every: Duration) {
    let mut renewed = Instant::now();
    let mut ticks = interval_at(renewed + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.heartbeat(fence, clock.now()).await {
            Ok(()) => renewed = Instant::now(),
            Err(StoreError::Stale { .. }) => break,
            Err(error) if renewed.elapsed() >= LEASE_EXPIRES => {
                tracing::warn!(%error, "the writer lease could not be renewed");
                break;
            }
            Err(error) => tracing::debug!(%error, "the writer lease is renewed later"),
        }
    }
    lost.request();
}
