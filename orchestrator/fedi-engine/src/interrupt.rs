//! The wish to stop. Once said it stands.

use tokio::sync::watch;

/// The wish to stop. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(watch::Sender<bool>);

impl Interrupt {
    /// Says it.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes once it is said.
    pub async fn requested(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|said| *said).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_comes_late_hears_it_too() {
        let interrupt = Interrupt::default();
        let clone = interrupt.clone();
        let waiting = tokio::spawn(async move { clone.requested().await });
        interrupt.request();
        waiting.await.unwrap();
        interrupt.requested().await;
        assert!(interrupt.is_requested());
    }
}
