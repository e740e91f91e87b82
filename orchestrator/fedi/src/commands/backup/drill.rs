//! `fedi backup drill`.

use std::fmt::Write as _;

use clap::Args;
use fedi_engine::Outcome;
use fedi_model::inventory::Deployment;
use fedi_model::name::DeploymentName;
use fedi_model::resource::ResourceId;
use fedi_workflow::Done;
use jiff::Timestamp;
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, failure, interrupted};
use crate::cli::Global;
use crate::commands::deploy::show;
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::ui::{Ui, local};

/// Prove that a snapshot can be restored, on a guest that goes again
///
/// Makes a second guest without a name and without the right to run, restores into it,
/// compares everything with what was captured, records the proof in the repository and
/// removes the guest. On a failure the guest is removed too. The deployment itself is
/// not touched.
///
/// With `--due`, for a timer: rehearses what says how often (`backup.drill-days` in its
/// file) and was not proved for so long, one after another, also after one that failed.
/// The exit code is that of the first that failed.
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// The deployment; with `--due` several, or all of them if none is named
    #[arg(required_unless_present = "due")]
    deployments: Vec<String>,
    /// The snapshot's id, which may be shortened; without it, the newest that is no fail-safe
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// Only where a rehearsal is due
    #[arg(long, conflicts_with = "snapshot")]
    due: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Proved {
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<Done>,
}

pub(crate) async fn run(args: &Drill, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    if args.due {
        return due(&args.deployments, &context).await;
    }
    let [name] = args.deployments.as_slice() else {
        return Err(CommandError::refused("One rehearsal at a time")
            .hint("Name one deployment, or add `--due` for all whose `drill-days` are over"));
    };
    let deployment = context.deployment(name)?;
    let workshop = context.workshop(&deployment.host)?;
    let Some((outcome, text)) = rehearse(&context, &workshop, deployment, args.snapshot.as_deref()).await? else {
        return Ok(Exit::Interrupted);
    };
    let proved = workshop.desk.backup_history(&deployment.name).await?.proved;
    conclude(ui, &outcome, &Proved { proved }, &text)
}

/// Makes one. How it ended and what to say if that is well; `None` if it was interrupted
/// before anything was begun.
async fn rehearse(
    context: &Context,
    workshop: &Workshop,
    deployment: &Deployment,
    snapshot: Option<&str>,
) -> Result<Option<(Outcome, String)>, CommandError> {
    let desk = &workshop.desk;
    if let Some(drill) = fedi_plan::drill_of(&deployment.name) {
        workshop.no_open_run(&drill).await?;
        if context.folder.deployment(drill.as_str()).is_ok() {
            return Err(CommandError::refused(format!("The inventory has a deployment `{drill}`"))
                .hint("A rehearsal's guest has that name: rename the deployment"));
        }
    }
    let prepared = tokio::select! {
        prepared = async {
            let at = desk.pick(&deployment.name, snapshot).await?;
            desk.drill(deployment, &at).await
        } => prepared?,
        () = interrupted() => return Ok(None),
    };
    show(context.ui, &prepared.plan)?;
    let rehearsal = prepared.plan.deployment.clone();
    let outcome = match carry_out(workshop, context.ui, Work::Start(prepared.plan.clone())).await {
        Ok(outcome) => outcome,
        Err(error) => {
            desk.give_up_restore(&prepared).await?;
            return Err(error.into());
        }
    };
    if matches!(outcome, Outcome::Completed { .. } | Outcome::Unwound { .. }) {
        desk.forget(&rehearsal).await?;
    }
    let text = format!(
        "`{}` comes back from snapshot {}: restored, compared, and cleared away\n",
        deployment.name,
        prepared.snapshot.at.short()
    );
    Ok(Some((outcome, text)))
}

/// What became of a deployment that could have been due.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Rehearsal {
    deployment: DeploymentName,
    became: Became,
    /// The last proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CommandError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Became {
    Proved,
    NotDue,
    NotDeployed,
    /// Its file does not say how often.
    NoDrillDays,
    Failed,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    rehearsals: Vec<Rehearsal>,
}

async fn due(names: &[String], context: &Context) -> Result<Exit, CommandError> {
    let mut rehearsals = Vec::new();
    for deployment in context.deployments(names)? {
        let mut one =
            Rehearsal { deployment: deployment.name.clone(), became: Became::Failed, proved: None, error: None };
        match when_due(context, deployment, &mut one).await {
            Ok(Some(became)) => one.became = became,
            Ok(None) => return Ok(Exit::Interrupted),
            Err(error) => {
                context.ui.fail(&error);
                one.error = Some(error);
            }
        }
        let stopped = one.error.as_ref().is_some_and(|error| error.exit == Exit::Resumable);
        rehearsals.push(one);
        if stopped {
            break;
        }
    }
    let exit = rehearsals.iter().find_map(|one| one.error.as_ref()).map_or(Exit::Done, |error| error.exit);
    let text = lines(&rehearsals);
    context.ui.report(&Report { rehearsals }, &text)?;
    Ok(exit)
}

async fn when_due(
    context: &Context,
    deployment: &Deployment,
    one: &mut Rehearsal,
) -> Result<Option<Became>, CommandError> {
    let Some(days) = deployment.file.backup.drill_days else { return Ok(Some(Became::NoDrillDays)) };
    let workshop = context.workshop(&deployment.host)?;
    let desk = &workshop.desk;
    one.proved = desk.backup_history(&deployment.name).await?.proved;
    if !desk.ledger(&deployment.name).await?.contains_key(&ResourceId::vm(&deployment.name)) {
        return Ok(Some(Became::NotDeployed));
    }
    let proved = one.proved.as_ref().map(|proved| proved.at);
    if !fedi_workflow::is_drill_due(days, proved, Timestamp::now()) {
        return Ok(Some(Became::NotDue));
    }
    let Some((outcome, _)) = rehearse(context, &workshop, deployment, None).await? else { return Ok(None) };
    if let Some(error) = failure(&outcome) {
        return Err(error);
    }
    one.proved = desk.backup_history(&deployment.name).await?.proved;
    Ok(Some(Became::Proved))
}

fn lines(rehearsals: &[Rehearsal]) -> String {
    if rehearsals.iter().all(|one| one.became == Became::NoDrillDays) {
        return "Nothing is rehearsed by itself: no `backup.drill-days` in the files of deployments\n".to_owned();
    }
    let mut text = String::new();
    for Rehearsal { deployment, became, proved, error } in rehearsals {
        let last = || proved.as_ref().map_or("never".to_owned(), |proved| local(proved.at));
        let _ = match became {
            Became::Proved => writeln!(text, "ok       {deployment}: it comes back; proved {}", last()),
            Became::NotDue => writeln!(text, "ok       {deployment}: not due; proved {}", last()),
            Became::NotDeployed => writeln!(text, "-        {deployment}: not deployed"),
            Became::NoDrillDays => writeln!(text, "-        {deployment}: no `backup.drill-days` in its file"),
            Became::Failed => {
                let why = error.as_ref().map_or("", |error| &error.message);
                writeln!(text, "FAILED   {deployment}: {why}; proved {}", last())
            }
        };
    }
    text
}
