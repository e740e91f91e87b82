//! Tasks: what Proxmox does in the background, and how it ended.

mod estimate;
mod list;
mod poll;
mod wait;

pub use estimate::{Estimate, History};
pub use list::{ListTasks, TaskEntry, TaskQuery, TaskSource};
pub use wait::{TaskEnd, Wait};

use std::fmt;
use std::str::FromStr;

use proxmox_schema::{Method, Upid};
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::request::{Parameters, Request};

/// How a task ended, in Proxmox's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// It did what it should, with this many warnings in its log.
    Warnings(u32),
    /// The text of its error.
    Failed(String),
    /// Its log breaks off, as after a crash of the node: it may have done anything.
    Unknown,
}

impl Exit {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Ok | Self::Warnings(_))
    }
}

impl FromStr for Exit {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "OK" => Self::Ok,
            "unexpected status" => Self::Unknown,
            _ => match text.strip_prefix("WARNINGS: ").and_then(|count| count.parse().ok()) {
                Some(count) => Self::Warnings(count),
                None => Self::Failed(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Warnings(count) => write!(f, "WARNINGS: {count}"),
            Self::Failed(text) => f.write_str(text),
            Self::Unknown => f.write_str("unexpected status"),
        }
    }
}

/// The state of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    Running,
    Ended(Exit),
}

/// A line of a task's log.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct LogLine {
    /// Counted from 1.
    #[serde(rename = "n", deserialize_with = "crate::lenient::integer")]
    pub number: u64,
    #[serde(rename = "t", default)]
    pub text: String,
}

/// `GET /nodes/{node}/tasks/{upid}/status`
#[derive(Clone, Debug)]
pub struct GetTaskStatus<'a>(pub &'a Upid);

/// The answer of [`GetTaskStatus`].
#[derive(Clone, Debug, Deserialize)]
pub struct TaskStatus {
    status: String,
    #[serde(default)]
    exitstatus: Option<String>,
}

impl TaskStatus {
    pub fn state(&self) -> TaskState {
        if self.status != "stopped" {
            return TaskState::Running;
        }
        let Ok(exit) = self.exitstatus.as_deref().unwrap_or("unexpected status").parse();
        TaskState::Ended(exit)
    }
}

impl Request for GetTaskStatus<'_> {
    const METHOD: Method = Method::Get;
    type Answer = TaskStatus;

    fn template(&self) -> &'static str {
        "/nodes/{node}/tasks/{upid}/status"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.0.node.clone(), self.0.to_string()]
    }
}

/// `GET /nodes/{node}/tasks/{upid}/log`
#[derive(Clone, Debug)]
pub struct GetTaskLog<'a> {
    pub upid: &'a Upid,
    /// Lines to leave out.
    pub start: u64,
    /// Lines at most; 0 is all.
    pub limit: u64,
}

impl Request for GetTaskLog<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<LogLine>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/tasks/{upid}/log"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.upid.node.clone(), self.upid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("start", self.start).with("limit", self.limit)
    }
}

/// `DELETE /nodes/{node}/tasks/{upid}`
#[derive(Clone, Debug)]
pub struct StopTask<'a>(pub &'a Upid);

impl Request for StopTask<'_> {
    const METHOD: Method = Method::Delete;
    type Answer = ();

    fn template(&self) -> &'static str {
        "/nodes/{node}/tasks/{upid}"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.0.node.clone(), self.0.to_string()]
    }
}

impl Client {
    /// Whether the task runs, or how it ended. The node asked is the one that the UPID names.
    pub async fn task_state(&self, upid: &Upid) -> Result<TaskState, Error> {
        self.send(&GetTaskStatus(upid)).await.map(|status| status.state())
    }

    /// All lines of the task's log.
    pub async fn task_log(&self, upid: &Upid) -> Result<Vec<LogLine>, Error> {
        self.send(&GetTaskLog { upid, start: 0, limit: 0 }).await
    }

    /// Stops a task; its worker cleans up behind it, which takes a moment: wait for its end.
    pub async fn stop_task(&self, upid: &Upid) -> Result<(), Error> {
        self.send(&StopTask(upid)).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn states_are_read() {
        let state = |value| serde_json::from_value::<TaskStatus>(value).unwrap().state();
        assert_eq!(state(json!({"status": "running"})), TaskState::Running);
        assert_eq!(state(json!({"status": "stopped", "exitstatus": "OK"})), TaskState::Ended(Exit::Ok));
        let warnings = state(json!({"status": "stopped", "exitstatus": "WARNINGS: 1"}));
        assert_eq!(warnings, TaskState::Ended(Exit::Warnings(1)));
        assert_eq!(state(json!({"status": "stopped"})), TaskState::Ended(Exit::Unknown));
    }

    proptest! {
        #[test]
        fn print_and_parse_agree(text in "\\PC{0,40}") {
            let Ok(exit) = text.parse::<Exit>();
            prop_assert_eq!(exit.to_string().parse::<Exit>(), Ok(exit));
        }
    }
}
