//! What happens while a run goes on, for whoever watches: the terminal, `--json`
//! lines, later the panel. Nothing depends on an event being seen.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{DeploymentName, HostName};
use crate::plan::{StepId, Workflow};
use crate::run::{Failure, RunId, RunPhase};

/// The version of the events that `--json` prints.
pub const SCHEMA: u32 = 1;

/// An event with its time and its run: one line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EventLine {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// When it happened.
    pub at: Timestamp,
    /// In which run; several may go on at once.
    pub run: RunId,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A run begins or is taken up again.
    RunStarted {
        /// What for.
        workflow: Workflow,
        /// For which deployment.
        deployment: DeploymentName,
        /// On which host.
        host: HostName,
        /// How many steps it has in all.
        steps: usize,
        /// How many of them are done already.
        finished: usize,
    },
    /// A stage begins.
    StageStarted {
        /// Its word.
        title: String,
    },
    /// A step begins.
    StepStarted {
        /// Which.
        step: StepId,
        /// Its line for people.
        title: String,
    },
    /// A step goes on.
    StepProgress {
        /// Which.
        step: StepId,
        /// What is going on now.
        message: String,
        /// Done so far, where it can be counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        /// Of how much, in the unit of `done`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A step is done.
    StepFinished {
        /// Which.
        step: StepId,
    },
    /// A step failed for a reason that may pass, and is tried again.
    StepRetrying {
        /// Which.
        step: StepId,
        /// Why it failed.
        failure: Failure,
        /// Seconds until it is tried again.
        wait_s: u64,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// The run is past the point from which there is no way back.
    Pivoted {
        /// Why there is none, in words.
        reason: String,
    },
    /// The run goes backward from here.
    Unwinding {
        /// Why.
        reason: String,
    },
    /// A step's effect is being taken back.
    StepUndoing {
        /// Which.
        step: StepId,
        /// Its line for people.
        title: String,
    },
    /// A step's effect is taken back.
    StepUndone {
        /// Which.
        step: StepId,
    },
    /// A step's effect could not be taken back.
    StepUndoFailed {
        /// Which.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// Something the operator should know or do; never a secret.
    Notice {
        /// In words.
        message: String,
    },
    /// A run stops, for now or for good.
    RunStopped {
        /// Where it stands.
        phase: RunPhase,
    },
}
