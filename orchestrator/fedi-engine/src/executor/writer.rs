//! The writer lease while an engine has runs going.

use std::sync::Arc;
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
pub(crate) struct Writers(tokio::sync::Mutex<Option<(usize, Arc<Writer>)>>);

impl Writers {
    pub(crate) async fn join(
        &self,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        holder: &Holder,
        every: Duration,
    ) -> Result<Arc<Writer>, StoreError> {
        let mut current = self.0.lock().await;
        if let Some((users, writer)) = current.as_mut()
            && !writer.lost.is_requested()
        {
            *users += 1;
            return Ok(writer.clone());
        }
        let fence = acquire(store.as_ref(), clock.as_ref(), holder).await?;
        let lost = Interrupt::default();
        let heartbeat = tokio::spawn(beat(store.clone(), clock.clone(), fence, lost.clone(), every));
        let writer = Arc::new(Writer { fence, lost, heartbeat });
        *current = Some((1, writer.clone()));
        Ok(writer)
    }

    pub(crate) async fn leave(&self, store: &dyn Store, writer: &Arc<Writer>) {
        let mut current = self.0.lock().await;
        let Some((users, _)) = current.as_mut().filter(|(_, other)| Arc::ptr_eq(other, writer)) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            *current = None;
            // Not given back, it is free once this process is gone.
            if let Err(error) = store.release(writer.fence).await {
                tracing::warn!(%error, "the writer lease was not given back");
            }
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
