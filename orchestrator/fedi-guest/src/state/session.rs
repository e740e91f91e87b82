//! What an operation on state is given: the tools of this guest, who watches, and how it
//! is called off.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use fedi_model::manifest::App;
use fedi_state::{Cancel, Observer, Progress, Tools, Work};

use super::kinds;
use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, Event};

/// An operation on state under way.
#[derive(Clone)]
pub(crate) struct Session {
    events: Sender<Event>,
    cancel: Cancel,
}

impl Session {
    pub(crate) fn new(events: Sender<Event>, cancel: Cancel) -> Self {
        Self { events, cancel }
    }

    /// What the library is given.
    pub(super) fn work(&self, guest: &Guest, app: &App) -> Work {
        let mut folders = kinds::postgres_programs(guest, app);
        folders.extend(guest.program_folders());
        Work {
            observer: Arc::new(Watcher(self.events.clone())),
            cancel: self.cancel.clone(),
            tools: Tools { folders },
            ..Work::default()
        }
    }

    /// Fails if the operation was called off.
    pub(super) fn alive(&self) -> Result<(), GuestError> {
        if self.cancel.is_cancelled() {
            return Err(GuestError::refused(ErrorKind::Cancelled, "Called off"));
        }
        Ok(())
    }

    /// A line for whoever watches.
    pub(super) fn say(&self, line: impl Into<String>) {
        // Nobody listens once the client is gone; then the operation is called off anyway.
        let _ = self.events.send(Event::Output { line: line.into() });
    }

    /// What the operator should know after the run, too.
    pub(super) fn notice(&self, message: impl Into<String>) {
        // As above.
        let _ = self.events.send(Event::Notice { message: message.into() });
    }
}

struct Watcher(Sender<Event>);

impl Observer for Watcher {
    fn progress(&self, progress: &Progress) {
        let Progress { what, bytes, of_bytes, count, rate } = progress.clone();
        // As above.
        let _ = self.0.send(Event::Progress { what, bytes, of_bytes, count, rate });
    }

    fn notice(&self, message: &str) {
        let _ = self.0.send(Event::Notice { message: message.to_owned() });
    }
}
