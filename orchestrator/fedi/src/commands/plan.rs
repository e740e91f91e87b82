//! `fedi plan`.

use clap::Args;
use fedi_model::inventory::Deployment;
use fedi_plan::render;
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Show what a deploy would do, and change nothing
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The deployments; all of them if none is named
    deployments: Vec<String>,
    /// Exit with 3 when there is something to do
    #[arg(long)]
    check: bool,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Plans {
    plans: Vec<fedi_model::plan::Plan>,
    /// Deployments that there is no plan for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Unplanned>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Unplanned {
    deployment: String,
    error: CommandError,
}

/// What an inventory without deployments needs.
pub(crate) const MAKE_ONE: &str = "Make one with `fedi deploy --host <host> <name> --domain <domain>`";

pub(crate) async fn run(args: &Plan, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let wanted = context.deployments(&args.deployments)?;
    if wanted.is_empty() {
        ui.report(&Plans::default(), "The inventory has no deployments\n")?;
        ui.say(MAKE_ONE);
        return Ok(Exit::Done);
    }
    let workshop = context.workshop_of(wanted.iter().map(|deployment| &deployment.host))?;
    let mut report = Plans::default();
    let usable: Vec<&Deployment> =
        wanted.iter().copied().filter(|deployment| workshop.usable(&deployment.host).is_ok()).collect();
    let mut previews = workshop.desk.previews(&usable).await.into_iter();
    for deployment in &wanted {
        let plan = match workshop.usable(&deployment.host) {
            Ok(()) => previews.next().transpose().map_err(CommandError::from),
            Err(error) => Err(error),
        };
        match plan {
            Ok(prepared) => report.plans.extend(prepared.map(|prepared| prepared.plan)),
            Err(error) if wanted.len() == 1 => return Err(error),
            Err(error) => report.failed.push(Unplanned { deployment: deployment.name.to_string(), error }),
        }
    }
    let texts: Vec<String> = report.plans.iter().map(|plan| ui.paint_plan_out(&render::plan(plan))).collect();
    ui.report(&report, &texts.join("\n"))?;
    if let Some(first) = report.failed.first() {
        for it in &report.failed {
            ui.say(&format!("\n{}", it.error.render().trim_end()));
        }
        return Ok(first.error.exit);
    }
    let changes = report.plans.iter().any(|plan| !plan.is_empty());
    Ok(if args.check && changes { Exit::Changes } else { Exit::Done })
}
