//! `fedi plan`.

use clap::Args;
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

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Plans {
    plans: Vec<fedi_model::plan::Plan>,
}

pub(crate) async fn run(args: &Plan, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let mut wanted = Vec::new();
    for name in &args.deployments {
        wanted.push(context.folder.deployment(name)?);
    }
    if args.deployments.is_empty() {
        wanted.extend(context.folder.inventory().deployments.values());
    }
    if wanted.is_empty() {
        ui.report(&Plans { plans: Vec::new() }, "The inventory has no deployments\n")?;
        ui.say("Make one with `fedi deploy --host <host> <name> --domain <domain>`");
        return Ok(Exit::Done);
    }
    let hosts: std::collections::BTreeSet<_> = wanted.iter().map(|deployment| &deployment.host).collect();
    let workshop = context.workshop(&hosts.into_iter().collect::<Vec<_>>())?;
    let (mut plans, mut text, mut failed) = (Vec::new(), String::new(), None);
    for deployment in wanted {
        match workshop.desk.deploy(deployment).await {
            Ok(prepared) => {
                workshop.desk.give_up(&prepared).await?;
                text.push_str(&render::plan(&prepared.plan));
                text.push('\n');
                plans.push(prepared.plan);
            }
            Err(error) => {
                let error = CommandError::from(error);
                if args.deployments.len() == 1 {
                    return Err(error);
                }
                ui.fail(&error);
                failed = Some(error.exit);
            }
        }
    }
    let changes = plans.iter().any(|plan| !plan.is_empty());
    ui.report(&Plans { plans }, &text)?;
    match failed {
        Some(exit) => Ok(exit),
        None if args.check && changes => Ok(Exit::Changes),
        None => Ok(Exit::Done),
    }
}
