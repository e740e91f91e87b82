//! File locks as `flock` on `/var/lock` gives them: exclusive or shared, waited for with a limit, gone with
//! their holder.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{ApiError, ApiResult};

#[derive(Debug, Default)]
struct Holders {
    exclusive: bool,
    shared: usize,
}

/// All locks of the cluster, by path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locks {
    held: Arc<Mutex<HashMap<String, Holders>>>,
}

/// A lock that is held until this goes.
#[derive(Debug)]
pub(crate) struct Held {
    locks: Locks,
    path: String,
    shared: bool,
}

impl Locks {
    fn try_take(&self, path: &str, shared: bool) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = held.entry(path.to_owned()).or_default();
        if holders.exclusive || (!shared && holders.shared > 0) {
            return None;
        }
        if shared {
            holders.shared += 1;
        } else {
            holders.exclusive = true;
        }
        Some(Held { locks: self.clone(), path: path.to_owned(), shared })
    }

    /// Takes a lock, waiting for at most `limit`. `waiting` is told once when it is not free at once.
    pub(crate) async fn take(
        &self,
        clock: &Clock,
        path: &str,
        limit: Duration,
        shared: bool,
        waiting: impl FnOnce(),
    ) -> ApiResult<Held> {
        if let Some(held) = self.try_take(path, shared) {
            return Ok(held);
        }
        waiting();
        let end = clock.now() + limit;
        loop {
            let left = end.saturating_sub(clock.now());
            if left.is_zero() {
                return Err(ApiError::die(format!("can't lock file '{path}' - got timeout")));
            }
            clock.sleep(left.min(Duration::from_millis(50))).await;
            if let Some(held) = self.try_take(path, shared) {
                return Ok(held);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.locks.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holders) = held.get_mut(&self.path) {
            if self.shared {
                holders.shared -= 1;
            } else {
                holders.exclusive = false;
            }
            if !holders.exclusive && holders.shared == 0 {
                held.remove(&self.path);
            }
        }
    }
}
