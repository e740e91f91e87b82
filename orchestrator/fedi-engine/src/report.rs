//! Runs as `fedi run list` and `fedi run show` tell of them.

use fedi_model::name::{DeploymentName, HostName};
use fedi_model::plan::{Sign, StepId, Workflow};
use fedi_model::run::{Direction, Failure, RunId, RunPhase, RunState, StepState};
use jiff::Timestamp;
use serde::Serialize;

use crate::clock::{Clock, SystemClock};
use crate::store::{Holder, RunRow, Store, StoreError};

/// The version of what `--json` prints of runs.
const SCHEMA: u32 = 1;

/// A run as its journal tells it.
pub async fn load(store: &dyn Store, run: RunId) -> Result<RunState, StoreError> {
    let records = store.records(run).await?;
    Ok(RunState::fold(run, &records)?)
}

/// A run in the list of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunSummary {
    /// The version of this form; 1.
    pub schema: u32,
    /// Its name.
    pub run: RunId,
    /// What for.
    pub workflow: Workflow,
    /// For which deployment.
    pub deployment: DeploymentName,
    /// On which host.
    pub host: HostName,
    /// Where it stands, as its journal has it.
    pub phase: RunPhase,
    /// Whether its journal says that it goes on, but nobody works on it: its process was
    /// killed, and it is to be resumed.
    pub cut_off: bool,
    /// When it was planned.
    pub started: Timestamp,
    /// When it last went on.
    pub updated: Timestamp,
    /// How many events it has.
    pub events: u64,
}

impl RunSummary {
    /// All runs, the newest first.
    pub async fn all(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let rows = store.runs().await?;
        let written = is_written(store).await?;
        Ok(rows.into_iter().map(|row| Self::of(row, written)).collect())
    }

    /// The runs that are not over, the oldest first.
    pub async fn open(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let rows = store.open_runs().await?;
        let written = is_written(store).await?;
        Ok(rows.into_iter().map(|row| Self::of(row, written)).collect())
    }

    /// Where it stands, in a word for people.
    pub fn state(&self) -> String {
        if self.cut_off { "cut off".to_owned() } else { self.phase.to_string() }
    }

    /// Tells of a run; `written` says whether somebody writes to the journal now.
    fn of(row: RunRow, written: bool) -> Self {
        Self {
            schema: SCHEMA,
            cut_off: is_going(row.phase) && !written,
            run: row.id,
            workflow: row.workflow,
            deployment: row.deployment,
            host: row.host,
            phase: row.phase,
            started: row.started,
            updated: row.updated,
            events: row.events,
        }
    }
}

fn is_going(phase: RunPhase) -> bool {
    matches!(phase, RunPhase::Forward | RunPhase::Backward)
}

/// Whether somebody holds the writer lease who may be alive.
async fn is_written(store: &dyn Store) -> Result<bool, StoreError> {
    let lease = store.lease().await?;
    let now = SystemClock.now();
    Ok(lease.is_some_and(|lease| !lease.is_expired(now) && !Holder::current().knows_dead(&lease.holder)))
}

/// A run, looked at closely.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunReport {
    /// In short.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether it is past the point from which there is no way back.
    pub pivoted: bool,
    /// Whether it can be resumed.
    pub can_resume: bool,
    /// Whether it can be undone.
    pub can_undo: bool,
    /// Why it stands still or goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The failure on its way forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The failure on its way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_failure: Option<Failure>,
    /// Its stages.
    pub stages: Vec<StageReport>,
}

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageReport {
    /// Its word.
    pub title: String,
    /// Its steps.
    pub steps: Vec<StepReport>,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepReport {
    /// Its name.
    pub step: StepId,
    /// Its line for people.
    pub title: String,
    /// The sign of its plan line; a pivot has none.
    pub sign: Option<Sign>,
    /// Where it stands: `waiting`, `started`, `finished`, `failed`, `undone`.
    pub state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl RunReport {
    /// Reads a run's journal.
    pub async fn load(store: &dyn Store, run: RunId) -> Result<Self, StoreError> {
        let mut report = Self::of(&load(store, run).await?);
        report.summary.cut_off = is_going(report.summary.phase) && !is_written(store).await?;
        Ok(report)
    }

    /// Tells of a run. Whether it was cut off, its journal alone does not tell.
    pub fn of(state: &RunState) -> Self {
        let step = |step: &fedi_model::plan::Step| {
            let stands = state.step(&step.id);
            let failure = match stands {
                StepState::Failed { failure, .. } => Some(failure.clone()),
                _ => None,
            };
            StepReport {
                step: step.id.clone(),
                title: step.title.clone(),
                sign: step.sign(),
                state: stands.word(),
                failure,
            }
        };
        Self {
            summary: RunSummary {
                schema: SCHEMA,
                run: state.id,
                workflow: state.plan.workflow,
                deployment: state.plan.deployment.clone(),
                host: state.plan.host.clone(),
                phase: state.phase,
                cut_off: false,
                started: state.started,
                updated: state.updated,
                events: state.events,
            },
            direction: state.direction,
            pivoted: state.pivoted,
            can_resume: !state.phase.is_over(),
            can_undo: !state.phase.is_over() && !state.pivoted,
            reason: state.reason.clone(),
            failure: state.failure.clone(),
            undo_failure: state.undo_failure.clone(),
            stages: state
                .plan
                .stages
                .iter()
                .map(|stage| StageReport { title: stage.title.clone(), steps: stage.steps.iter().map(step).collect() })
                .collect(),
        }
    }
}
