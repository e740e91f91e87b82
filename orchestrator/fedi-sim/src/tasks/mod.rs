//! Tasks: workers that run beside the request that started them, their log and their end.
//!
//! Source: `PVE::RESTEnvironment::fork_worker` and `PVE::API2::Tasks`.

mod api;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxmox_schema::Upid;
use serde::{Deserialize, Serialize};

pub(crate) use api::{cluster_tasks, task_index, task_list, task_log, task_status, task_stop};
pub(crate) use worker::{Control, Worker, fork, reap_orphans, wait_for};

/// A task and its log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    pub(crate) upid: String,
    pub(crate) log: Vec<String>,
    /// Exit text; `None` while it runs.
    pub(crate) status: Option<String>,
    /// Seconds since 1970.
    pub(crate) ended: Option<u64>,
}

impl TaskRecord {
    pub(crate) fn parsed(&self) -> Option<Upid> {
        self.upid.parse().ok()
    }
}

/// The workers that run now.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    running: Mutex<HashMap<String, Arc<Control>>>,
}

impl Workers {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Control>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, upid: &str) -> Option<Arc<Control>> {
        self.lock().get(upid).cloned()
    }
}
