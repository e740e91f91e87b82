//! A clock that only moves when it is asked to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::Clock;
use jiff::{SignedDuration, Timestamp};

/// Starts at 2026-01-01T00:00:00Z. Every look at it lets a millisecond pass, and
/// sleeping lets all of the time pass at once. Clones share it.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<Mutex<Timestamp>>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())))
    }
}

impl TestClock {
    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += SignedDuration::try_from(duration).unwrap();
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.advance(Duration::from_millis(1));
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
        tokio::task::yield_now().await;
    }
}
