//! `fedi backup drill`.

use clap::Args;
use fedi_engine::Outcome;
use fedi_workflow::Done;
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::commands::deploy::show;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Prove that a snapshot can be restored, on a guest that goes again
///
/// Makes a second guest without a name and without the right to run, restores into it,
/// compares everything with what was captured, records the proof in the repository and
/// removes the guest. On a failure the guest is removed too. The deployment itself is
/// not touched.
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// The deployment
    deployment: String,
    /// The snapshot's id, which may be shortened; without it, the newest
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Proved {
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<Done>,
}

pub(crate) async fn run(args: &Drill, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let deployment = context.deployment(&args.deployment)?;
    let workshop = context.workshop(&deployment.host)?;
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
            let at = desk.pick(&deployment.name, args.snapshot.as_deref()).await?;
            desk.drill(deployment, &at).await
        } => prepared?,
        () = interrupted() => return Ok(Exit::Interrupted),
    };
    show(ui, &prepared.plan)?;
    let rehearsal = prepared.plan.deployment.clone();
    let outcome = match carry_out(&workshop, ui, Work::Start(prepared.plan.clone())).await {
        Ok(outcome) => outcome,
        Err(error) => {
            desk.give_up_restore(&prepared).await?;
            return Err(error.into());
        }
    };
    if matches!(outcome, Outcome::Completed { .. } | Outcome::Unwound { .. }) {
        desk.forget(&rehearsal).await?;
    }
    let proved = desk.backup_history(&deployment.name).await?.proved;
    let text = format!(
        "`{}` comes back from snapshot {}: restored, compared, and cleared away\n",
        deployment.name,
        prepared.snapshot.at.short()
    );
    conclude(ui, &outcome, &Proved { proved }, &text)
}
