//! Lists that were read a moment ago, so that plans over many deployments cost one
//! request and not one each.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proxmox_api::{Clock, Error};
use tokio::sync::Mutex;

/// How long a list serves. Shorter than anything that another process could do between
/// a plan and its run, and than an operator takes to say yes.
const FRESH: Duration = Duration::from_secs(2);

/// A list and when it was asked for.
#[derive(Debug)]
pub(super) struct Recent<T>(Mutex<Option<(Duration, Arc<T>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Recent<T> {
    /// The list as it was at most [`FRESH`] ago. Of several that ask at once one reads.
    pub(super) async fn get(
        &self,
        clock: &dyn Clock,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<Arc<T>, Error> {
        let mut held = self.0.lock().await;
        let now = clock.now();
        if let Some((at, list)) = &*held
            && now.saturating_sub(*at) < FRESH
        {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(read.await?);
        *held = Some((now, Arc::clone(&list)));
        Ok(list)
    }

    /// To be called before and after everything that changes what is listed.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}
