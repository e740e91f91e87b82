//! Shows a plan, asks, carries it out, and says how it ended: what every command that
//! changes the world does.

use std::sync::Arc;

use fedi_engine::{EngineError, Interrupt, Outcome};
use fedi_model::event::EventLine;
use fedi_model::plan::Plan;
use fedi_model::run::RunId;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::context::{Workshop, ways_on};
use crate::error::{CommandError, Exit};
use crate::ui::{Progress, Ui};

/// How a run ended, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Ending {
    /// Which run, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunId>,
    /// `completed`, `no-changes`, `unwound`, `paused`, `unhealthy`, `abandoned`.
    pub(crate) outcome: &'static str,
}

impl Ending {
    fn of(outcome: &Outcome) -> Self {
        Self { run: outcome.run(), outcome: word(outcome) }
    }
}

/// What to do with a run.
pub(crate) enum Work {
    /// Carry out a plan.
    Start(Plan),
    /// Take a run up again.
    Resume(RunId),
    /// Take a run back.
    Undo(RunId),
}

/// Does it, with progress; the first Ctrl-C stops at the next safe point.
pub(crate) async fn carry_out(workshop: &Workshop, ui: Ui, work: Work) -> Result<Outcome, EngineError> {
    let plan = match &work {
        Work::Start(plan) => plan.clone(),
        Work::Resume(run) | Work::Undo(run) => fedi_engine::load(workshop.store.as_ref(), *run).await?.plan,
    };
    let progress = Arc::new(Progress::new(ui, &plan));
    let watcher = Arc::clone(&progress);
    let observer = Arc::new(move |line: &EventLine| watcher.line(line));
    let engine = workshop.engine(observer);
    // From here on, not from when the task first runs.
    let signals = (signal(SignalKind::interrupt()).ok(), signal(SignalKind::terminate()).ok());
    let listener = tokio::spawn(listen(signals, engine.interrupt(), Arc::clone(&progress)));
    let outcome = match work {
        Work::Start(plan) => engine.start(&plan).await,
        Work::Resume(run) => engine.resume(run).await,
        Work::Undo(run) => engine.undo(run).await,
    };
    listener.abort();
    progress.end();
    outcome
}

/// The first signal asks, the second ends the process: the journal knows where it was.
async fn listen(signals: (Option<Signal>, Option<Signal>), interrupt: Interrupt, progress: Arc<Progress>) {
    let (Some(mut int), Some(mut term)) = signals else { return };
    let mut asked = false;
    loop {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        if asked {
            progress.tell("Stopped at once; the run can be resumed with `fedi run resume`");
            std::process::exit(Exit::Resumable as i32);
        }
        asked = true;
        progress.tell("Stopping at the next safe point; press Ctrl-C again to stop at once");
        interrupt.request();
    }
}

/// Completes at the first Ctrl-C or request to end. For the time before a run is begun:
/// after that, [`carry_out`] listens itself.
pub(crate) async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Turns an outcome into the end of a command; `report` and `done` tell of a good one.
pub(crate) fn conclude<R: Serialize>(ui: Ui, outcome: &Outcome, report: &R, done: &str) -> Result<Exit, CommandError> {
    if let Some(error) = failure(outcome) {
        return Err(error);
    }
    let ending = Ending::of(outcome);
    match outcome {
        Outcome::Unwound { run, .. } => ui.report(&ending, &format!("Run {run} is taken back\n"))?,
        _ => ui.report(&With { ending, report }, done)?,
    }
    Ok(Exit::Done)
}

/// Why an outcome is no good one, where it is none.
pub(crate) fn failure(outcome: &Outcome) -> Option<CommandError> {
    let mut error = match outcome {
        Outcome::NothingToDo
        | Outcome::Completed { .. }
        | Outcome::Abandoned { .. }
        | Outcome::Unwound { failure: None, .. } => return None,
        Outcome::Unwound { run, failure: Some(failure) } => {
            // What the failed step left is what the way back has removed.
            let left = format!("nothing; run {run} is taken back and all is as it was before");
            CommandError::from(failure.clone()).exit(Exit::Failed).left(left)
        }
        Outcome::Unhealthy { failure, .. } => CommandError::from(failure.clone()).exit(Exit::Unhealthy),
        Outcome::Paused { run, reason, failure, pivoted, .. } => {
            let error = match failure {
                Some(failure) => CommandError::from(failure.clone()),
                None => CommandError::failed(format!("Run {run} stopped: {reason}")),
            };
            let go_on = ways_on(*run, *pivoted);
            let hint = error.hint.as_ref().map_or(go_on.clone(), |hint| format!("{hint}\n{go_on}"));
            error.exit(Exit::Resumable).hint(hint)
        }
    };
    error.ending = Some(Box::new(Ending::of(outcome)));
    Some(error)
}

/// An ending with what a command has to add.
#[derive(Serialize)]
struct With<'a, R> {
    #[serde(flatten)]
    ending: Ending,
    #[serde(flatten)]
    report: &'a R,
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::NothingToDo => "no-changes",
        Outcome::Completed { .. } => "completed",
        Outcome::Unhealthy { .. } => "unhealthy",
        Outcome::Unwound { .. } => "unwound",
        Outcome::Paused { .. } => "paused",
        Outcome::Abandoned { .. } => "abandoned",
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        let exit = match error.exit_code() {
            4 => Exit::Resumable,
            5 => Exit::Locked,
            _ => Exit::Refused,
        };
        let hint = error.hint();
        let message = error.to_string();
        let mut made = CommandError::new(exit, message);
        if let Some(source) = std::error::Error::source(&error) {
            made = made.because(source);
        }
        made.hint = hint;
        made
    }
}
