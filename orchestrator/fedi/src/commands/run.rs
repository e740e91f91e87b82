//! `fedi run`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use fedi_engine::{Outcome, RunReport, RunSummary, Unobserved};
use fedi_model::plan::Workflow;
use fedi_model::run::{FailureKind, RunId, RunState, StepState};
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude};
use crate::cli::Global;
use crate::commands::deploy::{admin_made, deployed};
use crate::context::{Context, Workshop, ways_on};
use crate::error::{CommandError, Exit};
use crate::ui::{Table, Ui, local};

/// See what was done and is being done; go on, go back, or leave it
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Run {
    /// List the runs, newest first
    List(List),
    /// Show a run with every step
    Show(One),
    /// Go on with a run that stopped
    Resume(Newest),
    /// Take back what a run has done
    Undo(Agreed),
    /// End a run and leave things as they are
    Abandon(Agreed),
}

/// Options of `run list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those that are not over
    #[arg(long)]
    open: bool,
}

/// One run.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its number
    #[arg(value_parser = number)]
    run: RunId,
}

/// One run, or the one that is not over.
#[derive(Debug, Args)]
pub(crate) struct Newest {
    /// Its number; without it, the one that is not over
    #[arg(value_parser = number)]
    run: Option<RunId>,
}

/// The same, and the answer.
#[derive(Debug, Args)]
pub(crate) struct Agreed {
    #[command(flatten)]
    run: Newest,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn number(text: &str) -> Result<RunId, String> {
    text.parse().map_err(|_| "a run goes by its number, as in `fedi run list`".to_owned())
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Runs {
    runs: Vec<RunSummary>,
}

pub(crate) async fn run(command: &Run, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    match command {
        Run::List(args) => list(args, &context).await,
        Run::Show(args) => show(args, &context).await,
        Run::Resume(args) => resume(args, &context).await,
        Run::Undo(args) => undo(args, &context).await,
        Run::Abandon(args) => abandon(args, &context).await,
    }
}

async fn list(args: &List, context: &Context) -> Result<Exit, CommandError> {
    let store = context.store()?;
    let runs =
        if args.open { RunSummary::open(store.as_ref()).await? } else { RunSummary::all(store.as_ref()).await? };
    let mut table = Table::new(&["run", "what", "deployment", "host", "state", "started"]);
    for run in &runs {
        table.row(vec![
            run.run.to_string(),
            run.workflow.to_string(),
            run.deployment.to_string(),
            run.host.to_string(),
            run.state(),
            local(run.started),
        ]);
    }
    let text = if runs.is_empty() {
        (if args.open { "Every run is finished\n" } else { "No runs yet\n" }).to_owned()
    } else {
        table.render()
    };
    context.ui.report(&Runs { runs }, &text)?;
    Ok(Exit::Done)
}

async fn show(args: &One, context: &Context) -> Result<Exit, CommandError> {
    let store = context.store()?;
    let state = fedi_engine::load(store.as_ref(), args.run).await?;
    let detail = RunReport::load(store.as_ref(), args.run).await?;
    let mut text = format!(
        "Run {}: {} `{}` on host `{}`, {}\n",
        state.id,
        state.plan.workflow,
        state.plan.deployment,
        state.plan.host,
        detail.summary.state()
    );
    if let Some(reason) = &state.reason {
        let _ = writeln!(text, "  because: {reason}");
    }
    for step in state.plan.steps() {
        let word = match state.step(&step.id) {
            StepState::Failed { failure, .. } if failure.kind == FailureKind::Interrupted => "stopped",
            other => other.word(),
        };
        let pivot = if step.sign().is_none() { "-- " } else { "" };
        let _ = writeln!(text, "  {word:<9} {pivot}{}", fedi_plan::render::step(step));
    }
    if let Some(failure) = state.failure.as_ref().filter(|failure| failure.kind != FailureKind::Interrupted) {
        let _ = writeln!(text, "\n{}", CommandError::from(failure.clone()).render());
    }
    if !state.phase.is_over() {
        let _ = writeln!(text, "\n{}", ways_on(state.id, state.pivoted));
    }
    context.ui.report(&detail, &text)?;
    Ok(Exit::Done)
}

async fn resume(args: &Newest, context: &Context) -> Result<Exit, CommandError> {
    let (run, workshop, before) = pick(args, context).await?;
    let outcome = carry_out(&workshop, context.ui, Work::Resume(run)).await?;
    let name = &before.plan.deployment;
    match (&outcome, before.plan.workflow) {
        (Outcome::Completed { .. }, Workflow::Destroy) => {
            workshop.desk.forget(name).await?;
            conclude(context.ui, &outcome, &Nothing {}, &format!("`{name}` is destroyed\n"))
        }
        (Outcome::Completed { .. }, Workflow::Deploy) if context.folder.deployment(name.as_str()).is_ok() => {
            let deployment = context.deployment(name.as_str())?;
            let (report, text) = deployed(&workshop, deployment, admin_made(&before.plan)).await?;
            conclude(context.ui, &outcome, &report, &text)
        }
        (Outcome::Completed { .. }, Workflow::Drill) => {
            workshop.desk.forget(name).await?;
            conclude(context.ui, &outcome, &Nothing {}, "The rehearsal is proved and cleared away\n")
        }
        (Outcome::Unwound { .. }, workflow) if makes_a_guest(workflow) => {
            workshop.desk.forget(name).await?;
            conclude(context.ui, &outcome, &Nothing {}, "")
        }
        _ => conclude(context.ui, &outcome, &Nothing {}, &format!("Run {run} is done\n")),
    }
}

/// Whether taking it back leaves what was held for a guest.
fn makes_a_guest(workflow: Workflow) -> bool {
    match workflow {
        Workflow::Deploy | Workflow::Restore | Workflow::Drill | Workflow::Clone => true,
        Workflow::Destroy | Workflow::Backup => false,
    }
}

/// Nothing to add to an ending.
#[derive(Serialize)]
struct Nothing {}

async fn undo(args: &Agreed, context: &Context) -> Result<Exit, CommandError> {
    let (run, workshop, before) = pick(&args.run, context).await?;
    let question = format!("Take back what run {run} has done?");
    if !args.yes && !context.ui.confirm(&question, "--yes").await? {
        context.ui.say("Nothing was changed");
        return Ok(Exit::Done);
    }
    let outcome = carry_out(&workshop, context.ui, Work::Undo(run)).await?;
    if matches!(outcome, Outcome::Unwound { .. }) && makes_a_guest(before.plan.workflow) {
        workshop.desk.forget(&before.plan.deployment).await?;
    }
    conclude(context.ui, &outcome, &Nothing {}, "")
}

async fn abandon(args: &Agreed, context: &Context) -> Result<Exit, CommandError> {
    let (run, workshop, before) = pick(&args.run, context).await?;
    let question = format!("End run {run} and leave things as they are?");
    if !args.yes && !context.ui.confirm(&question, "--yes").await? {
        context.ui.say("Nothing was changed");
        return Ok(Exit::Done);
    }
    let outcome = workshop.engine(std::sync::Arc::new(Unobserved)).abandon(run).await?;
    let name = &before.plan.deployment;
    let next =
        format!("Run {run} is abandoned; `fedi plan {name}` shows what is missing, `fedi destroy {name}` removes it\n");
    conclude(context.ui, &outcome, &Nothing {}, &next)
}

/// The run that is meant, with drivers for its host.
async fn pick(args: &Newest, context: &Context) -> Result<(RunId, Workshop, RunState), CommandError> {
    let store = context.store()?;
    let run = match args.run {
        Some(run) => run,
        None => match store.open_runs().await?.as_slice() {
            [run] => run.id,
            [] => return Err(CommandError::refused("Every run is finished").hint("`fedi run list` shows them")),
            runs => {
                let ids: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
                return Err(CommandError::refused(format!("Several runs are not finished: {}", ids.join(", ")))
                    .hint("Say which one; `fedi run list --open` tells more"));
            }
        },
    };
    let state = fedi_engine::load(store.as_ref(), run).await?;
    drop(store);
    let workshop = context.workshop(&state.plan.host)?;
    Ok((run, workshop, state))
}
