//! What happened between the recorded requests: requests that are not in the file, and the hands of whoever
//! recorded it (a killed worker, a stopped daemon).

use serde::Deserialize;
use serde_json::Value;

/// One thing to do before a record is played.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bridge {
    /// The record's id, without the version.
    pub(crate) before: String,
    /// Only for this version (`8.4` or `9.2`).
    pub(crate) version: Option<String>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Method, path below `/api2/json`, token, body. Tasks are waited for.
    Call(String, String, String, Value),
    /// A command for the simulator.
    Control(Value),
    /// Whether guest agents answer from now on.
    Agents(bool),
    /// Waits for the task that a record started.
    Wait(String),
    /// Lets seconds pass.
    Pass(u64),
    /// The recorded digest stands for the present one of this VM.
    Digest(String, u32),
    /// The recorded UPID stands for the task of the call before.
    Upid(String),
    /// Plays a record already now; its answer is compared in its place.
    Play(String),
}

/// All of them.
pub(crate) fn load() -> Vec<Bridge> {
    serde_json::from_str(include_str!("bridges.json")).unwrap()
}
