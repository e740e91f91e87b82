//! What was asked and answered, for tests and benches.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// `GET`, `POST` ...
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// Status of the answer; 0 when the connection was cut instead.
    pub status: u16,
    /// User or token, without the secret.
    pub user: Option<String>,
    /// Simulated time of the request since 1970.
    pub at: Duration,
}

/// The log of requests.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    records: Mutex<Vec<RequestRecord>>,
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, Vec<RequestRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, record: RequestRecord) {
        let mut records = self.lock();
        // A long-lived sandbox must not grow without end.
        if records.len() >= 100_000 {
            records.drain(..50_000);
        }
        records.push(record);
    }

    pub(crate) fn all(&self) -> Vec<RequestRecord> {
        self.lock().clone()
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}
