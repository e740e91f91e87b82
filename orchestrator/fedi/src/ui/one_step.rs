//! Progress of something that is no run: a bar on a terminal, timestamped lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, NoStep, StepContext};
use indicatif::ProgressBar;

use super::Ui;
use super::progress::{LINES_APART, share, spinner, timestamped};

/// What a driver tells while it works outside of a run. Notes are kept in memory.
pub(crate) struct OneStep {
    ui: Ui,
    notes: NoStep,
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
}

impl OneStep {
    pub(crate) fn new(ui: Ui) -> Self {
        let bar = ui.is_live().then(|| ProgressBar::new_spinner().with_style(spinner()));
        Self { ui, notes: NoStep::default(), bar, last_line: Mutex::new(Instant::now()) }
    }
}

impl Drop for OneStep {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[async_trait]
impl StepContext for OneStep {
    fn key(&self) -> &str {
        self.notes.key()
    }

    async fn note(&self, key: &str, value: &str) -> Result<(), DriverError> {
        self.notes.note(key, value).await
    }

    async fn recall(&self, key: &str) -> Option<String> {
        self.notes.recall(key).await
    }

    fn progress(&self, message: &str, done: Option<u64>, total: Option<u64>) {
        let text = format!("{message}{}", share(done, total));
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINES_APART {
            *last = Instant::now();
            self.ui.say(&timestamped(&text));
        }
    }

    fn notice(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.say(&format!("note: {message}"))),
            None => self.ui.say(&timestamped(&format!("note: {message}"))),
        }
    }

    async fn interrupted(&self) {
        crate::carry_out::interrupted().await;
    }
}
