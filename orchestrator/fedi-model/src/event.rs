//! What happens while a run goes on, for whoever watches: the terminal, `--json`
//! lines, later the panel. Nothing depends on an event being seen.

use serde::{Deserialize, Serialize};

use crate::plan::StepId;
use crate::run::{Failure, RunId, RunPhase};

/// The version of the events that `--json` prints.
pub const SCHEMA: u32 = 1;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A run begins or is taken up again.
    RunStarted {
        /// Which.
        run: RunId,
        /// How many steps it has in all.
        steps: usize,
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
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepId,
        /// Why.
        failure: Failure,
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
    /// Something the operator should know or do; never a secret.
    Notice {
        /// In words.
        message: String,
    },
    /// A run stops, for now or for good.
    RunStopped {
        /// Which.
        run: RunId,
        /// Where it stands.
        phase: RunPhase,
    },
}
