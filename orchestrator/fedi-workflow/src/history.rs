//! When a deployment was last captured, and when a restore of it was last proved: told
//! by the journal.

use fedi_model::name::DeploymentName;
use fedi_model::plan::{Action, StepId, Task, Workflow};
use fedi_model::run::{FailureKind, RunState};
use jiff::Timestamp;
use serde::Serialize;

use crate::{Desk, WorkflowError};

/// What the journal says of backups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackupHistory {
    /// The last one that was made by a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Done>,
    /// The last run, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// The last rehearsal that proved a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proved: Option<Done>,
    /// The last rehearsal, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill_failed: Option<Failed>,
}

/// A backup, or a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Done {
    /// When it was done.
    pub at: Timestamp,
    /// The snapshot.
    pub snapshot: String,
    /// Its size in bytes, where it was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What of it the repository did not have yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_bytes: Option<u64>,
}

/// A backup or rehearsal that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// When it ended.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// How many runs are looked at for one that was done: failures pile up before they
/// are seen to.
const RUNS: usize = 100;

impl Desk {
    /// What the journal says of a deployment's backups and rehearsals.
    pub async fn backup_history(&self, name: &DeploymentName) -> Result<BackupHistory, WorkflowError> {
        let (last, failed) = self.newest(name, Workflow::Backup).await?;
        let (proved, drill_failed) = match fedi_plan::drill_of(name) {
            Some(drill) => self.newest(&drill, Workflow::Drill).await?,
            None => (None, None),
        };
        Ok(BackupHistory { last, failed, proved, drill_failed })
    }

    /// The newest run of that kind that did its work, and the newest of all if it failed. One
    /// that was called off is none.
    async fn newest(
        &self,
        name: &DeploymentName,
        workflow: Workflow,
    ) -> Result<(Option<Done>, Option<Failed>), WorkflowError> {
        let (mut failed, mut is_newest) = (None, true);
        let runs = self.store.runs_of(name).await?.into_iter().filter(|run| run.workflow == workflow);
        for run in runs.take(RUNS) {
            let state = fedi_engine::load(self.store.as_ref(), run.id).await?;
            if let Some(done) = done(&state, run.updated) {
                return Ok((Some(done), failed));
            }
            // What somebody stopped or took back has not failed: the one before it counts.
            let failure = state.failure.as_ref().filter(|it| it.kind != FailureKind::Interrupted);
            if failure.is_none() && run.phase.is_over() {
                continue;
            }
            if let Some(failure) = failure
                && is_newest
                && run.phase.is_over()
            {
                failed = Some(Failed { at: run.updated, why: failure.message.clone() });
            }
            is_newest = false;
        }
        Ok((None, failed))
    }
}

/// What a run captured or proved, if it came so far.
pub(crate) fn done(state: &RunState, at: Timestamp) -> Option<Done> {
    let step: &StepId = &state
        .plan
        .steps()
        .find(|step| match &step.action {
            Action::Run { task } => matches!(
                (&**task, state.plan.workflow),
                (Task::Capture { .. }, Workflow::Backup) | (Task::RecordProof { .. }, Workflow::Drill)
            ),
            _ => false,
        })?
        .id;
    if !state.step(step).is_finished() {
        return None;
    }
    let number = |key| state.note(step, key).and_then(|text| text.parse().ok());
    let snapshot = state.note(step, "snapshot")?.to_owned();
    Some(Done { at, snapshot, bytes: number("bytes"), new_bytes: number("new bytes") })
}
