//! State that only the application itself can read and write, such as an object store's:
//! while the application is stopped, the manifest's `serve` hook makes it reachable.

use std::time::Duration;

use fedi_model::manifest::App;

use super::pause;
use crate::error::GuestError;
use crate::guest::Guest;
use crate::systemd;

/// Longest time that what serves may take to stop.
const STOP: Duration = Duration::from_secs(120);

/// What runs for as long as this value lives.
pub(super) struct Served {
    guest: Guest,
    unit: Option<String>,
}

impl Served {
    /// Starts it, unless there is none or the application runs.
    pub(super) fn start(guest: &Guest, app: &App) -> Result<Self, GuestError> {
        let mut served = Self { guest: guest.clone(), unit: None };
        let Some(hook) = &app.hooks.serve else { return Ok(served) };
        if pause::stopped(guest, app)? {
            // Also one that did not start is to be stopped.
            served.unit = Some(hook.unit.clone());
            pause::judged("serve", hook, &pause::run(guest, hook)?)?;
        }
        Ok(served)
    }

    /// Stops it, and says where that fails.
    pub(super) fn end(mut self) -> Result<(), GuestError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), GuestError> {
        match self.unit.take() {
            Some(unit) => systemd::job(&self.guest, "stop", &unit, STOP).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // After another error, which is the one to report. The gate stops it when it opens.
        let _ = self.stop();
    }
}
