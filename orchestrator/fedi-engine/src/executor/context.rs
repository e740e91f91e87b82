//! What a driver sees of the step that it works on.

use async_trait::async_trait;
use fedi_model::event::Event;
use fedi_model::plan::Step;
use fedi_model::run::RunEvent;

use super::{Journal, Stop};
use crate::drivers::{DriverError, DriverErrorKind, StepContext};

/// What a driver sees of the step that it works on.
pub(super) struct Context<'a> {
    key: String,
    step: &'a Step,
    journal: &'a Journal<'a>,
    stop: &'a Stop,
}

impl<'a> Context<'a> {
    pub(super) fn new(step: &'a Step, journal: &'a Journal<'a>, wish: &'a Stop) -> Self {
        let key = format!("{}/{}", journal.state().id, step.id);
        Self { key, step, journal, stop: wish }
    }
}

#[async_trait]
impl StepContext for Context<'_> {
    fn key(&self) -> &str {
        &self.key
    }

    async fn note(&self, key: &str, value: &str) -> Result<(), DriverError> {
        if self.journal.state().note(&self.step.id, key) == Some(value) {
            return Ok(());
        }
        let noted = RunEvent::Noted { step: self.step.id.clone(), key: key.to_owned(), value: value.to_owned() };
        self.journal.append(noted).await.map_err(|_| {
            DriverError::new(DriverErrorKind::Interrupted, format!("Stopped at `{}`", self.step.title))
                .cause("The journal cannot be written")
        })
    }

    async fn recall(&self, key: &str) -> Option<String> {
        self.journal.state().note(&self.step.id, key).map(str::to_owned)
    }

    fn progress(&self, message: &str, done: Option<u64>, total: Option<u64>) {
        let step = self.step.id.clone();
        self.journal.tell(Event::StepProgress { step, message: message.to_owned(), done, total });
    }

    fn notice(&self, message: &str) {
        self.journal.tell(Event::Notice { message: message.to_owned() });
    }

    async fn interrupted(&self) {
        self.stop.requested().await;
    }
}
