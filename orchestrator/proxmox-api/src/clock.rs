//! Time and chance, so that tests can have their own.

use std::time::Duration;

use async_trait::async_trait;

/// What the client knows of time and chance.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Time since some moment that stays the same; never goes back.
    fn now(&self) -> Duration;

    async fn sleep(&self, time: Duration);

    /// A number from 0 up to 1, for jitter.
    fn chance(&self) -> f64;
}

/// The machine's clock, through tokio.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn chance(&self) -> f64 {
        rand::random()
    }
}

/// The time, give or take a fifth.
pub(crate) fn jittered(clock: &dyn Clock, time: Duration) -> Duration {
    time.mul_f64(0.8 + 0.4 * clock.chance())
}
