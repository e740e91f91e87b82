//! A clock that does not wait.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use proxmox_api::Clock;

/// Time passes only by sleeping, and at once.
pub(crate) struct TestClock(Mutex<Duration>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Duration::from_secs(1000)))
    }

    pub(crate) fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, time: Duration) {
        self.advance(time);
        tokio::task::yield_now().await;
    }

    /// In the middle: no jitter.
    fn chance(&self) -> f64 {
        0.5
    }
}
