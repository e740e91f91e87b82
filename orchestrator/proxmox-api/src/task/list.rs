//! The list of a node's tasks: what is found there after a crash.

use proxmox_schema::{Method, Upid};
use serde::Deserialize;

use super::{Exit, TaskState};
use crate::client::Client;
use crate::error::Error;
use crate::request::{Parameters, Request};

/// Which tasks a list holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSource {
    /// Only those that run.
    Active,
    /// Only those that ended.
    Archive,
    #[default]
    All,
}

/// What to look for. A token sees its own tasks, and those of others only with `Sys.Audit` on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskQuery {
    pub vmid: Option<u32>,
    /// `qmcreate`, `qmstart` and so on.
    pub kind: Option<String>,
    /// Started at this second (since 1970, by the node's clock) or later.
    pub since: Option<u64>,
    pub source: TaskSource,
    /// At most this many; Proxmox's default is 50.
    pub limit: Option<u32>,
}

impl TaskQuery {
    /// The tasks of a VM, running or not.
    pub fn of_vm(vmid: u32) -> Self {
        Self { vmid: Some(vmid), ..Self::default() }
    }

    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    #[must_use]
    pub fn since(mut self, second: u64) -> Self {
        self.since = Some(second);
        self
    }
}

/// A task in a list.
#[derive(Clone, Debug, Deserialize)]
pub struct TaskEntry {
    pub upid: Upid,
    #[serde(default)]
    status: Option<String>,
    /// Seconds since 1970, by the node's clock.
    #[serde(rename = "endtime", default, deserialize_with = "crate::lenient::maybe_integer")]
    pub end: Option<u64>,
}

impl TaskEntry {
    /// Lists say `RUNNING`, or how the task ended; else it has not been looked after yet.
    pub fn state(&self) -> TaskState {
        match self.status.as_deref() {
            None | Some("RUNNING" | "running") => TaskState::Running,
            Some(text) => {
                let Ok(exit) = text.parse::<Exit>();
                TaskState::Ended(exit)
            }
        }
    }
}

/// `GET /nodes/{node}/tasks`
#[derive(Clone, Debug)]
pub struct ListTasks<'a> {
    pub node: &'a str,
    pub query: &'a TaskQuery,
}

impl Request for ListTasks<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<TaskEntry>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/tasks"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned()]
    }

    fn parameters(&self) -> Parameters {
        let source = match self.query.source {
            TaskSource::Active => "active",
            TaskSource::Archive => "archive",
            TaskSource::All => "all",
        };
        Parameters::new()
            .with("source", source)
            .with_some("vmid", self.query.vmid)
            .with_some("typefilter", self.query.kind.as_deref())
            .with_some("since", self.query.since)
            .with_some("limit", self.query.limit)
    }
}

impl Client {
    /// The tasks of a node, newest first.
    pub async fn tasks(&self, node: &str, query: &TaskQuery) -> Result<Vec<TaskEntry>, Error> {
        self.send(&ListTasks { node, query }).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_of_entries_are_read() {
        let upid = "UPID:pve:00000A85:000B264E:6B014552:qmcreate:102:fedi@pve!pool:";
        let entry = |value| serde_json::from_value::<TaskEntry>(value).unwrap();
        let running = entry(json!({"upid": upid, "status": "RUNNING", "user": "fedi@pve!pool", "saved": "0"}));
        assert_eq!(running.state(), TaskState::Running);
        let ended = entry(
            json!({"upid": upid, "status": "OK", "endtime": 1_795_245_012, "user": "fedi@pve", "tokenid": "pool"}),
        );
        assert_eq!(ended.state(), TaskState::Ended(Exit::Ok));
        assert_eq!(ended.end, Some(1_795_245_012));
        assert_eq!(ended.upid.kind, "qmcreate");
    }
}
