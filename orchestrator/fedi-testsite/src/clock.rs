//! A clock by which a client waits less than it thinks.

use std::time::Duration;

use async_trait::async_trait;
use proxmox_api::{Clock, SystemClock};

/// The machine's clock, `speed` times as fast.
#[derive(Debug)]
pub struct FastClock {
    inner: SystemClock,
    speed: u32,
}

impl FastClock {
    /// Runs `speed` times as fast as real time.
    pub fn new(speed: u32) -> Self {
        Self { inner: SystemClock::new(), speed }
    }
}

#[async_trait]
impl Clock for FastClock {
    fn now(&self) -> Duration {
        self.inner.now() * self.speed
    }

    async fn sleep(&self, time: Duration) {
        self.inner.sleep(time / self.speed).await;
    }

    fn chance(&self) -> f64 {
        self.inner.chance()
    }
}
