//! A login with a password: the ticket, and its renewal.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;

use crate::secret::Secret;

/// Tickets live for two hours; they are renewed after one.
const RENEW_AFTER: Duration = Duration::from_secs(3600);

/// The answer of `POST /access/ticket`.
#[derive(Deserialize)]
pub(crate) struct TicketAnswer {
    #[serde(default)]
    pub(crate) ticket: Option<String>,
    #[serde(rename = "CSRFPreventionToken", default)]
    pub(crate) csrf: Option<String>,
    /// A second factor is asked for.
    #[serde(rename = "NeedTFA", default, deserialize_with = "crate::lenient::flag")]
    pub(crate) needs_second_factor: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) value: Secret,
    pub(crate) csrf: Secret,
    /// By the client's clock.
    pub(crate) since: Duration,
}

/// The ticket in use, if any. Whoever finds it old fetches the new one while the others wait.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) ticket: Mutex<Option<Ticket>>,
}

impl Ticket {
    pub(crate) fn is_old(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= RENEW_AFTER
    }
}
