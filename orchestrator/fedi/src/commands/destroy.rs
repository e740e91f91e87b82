//! `fedi destroy`.

use clap::Args;
use fedi_engine::Outcome;
use fedi_model::name::{DeploymentName, HostName};
use fedi_plan::render;
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::commands::deploy::{PlanReport, show};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Remove a deployment: its VM and disks, addresses, DNS records and secrets
///
/// Its data is gone afterwards. Its file in the inventory stays, so that it can be
/// deployed anew.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// The deployment
    deployment: String,
    /// Its name once more, instead of being asked for it
    #[arg(long = "destroy-data", value_name = "NAME")]
    data_of: Option<String>,
    /// Accepted, but not enough: destroying data asks for the deployment's name
    #[arg(short, long, hide = true)]
    yes: bool,
}

pub(crate) async fn run(args: &Destroy, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let (name, host) = find(args, &context).await?;
    let workshop = context.workshop(&host)?;
    workshop.no_open_run(&name).await?;
    let (plan, _) = workshop.desk.destroy(&name).await?;
    if plan.is_empty() {
        ui.report(&PlanReport { plan: &plan, outcome: "no-changes" }, &render::plan(&plan))?;
        return Ok(Exit::Done);
    }
    show(ui, &plan)?;
    tokio::select! {
        agreed = agree(args, ui, &name) => agreed?,
        () = interrupted() => {
            ui.say("\nNothing was changed");
            return Ok(Exit::Interrupted);
        }
    }
    let outcome = carry_out(&workshop, ui, Work::Start(plan)).await?;
    if let Outcome::Completed { .. } = outcome {
        workshop.desk.forget(&name).await?;
    }
    conclude(ui, &outcome, &Destroyed { deployment: &name }, &format!("`{name}` is destroyed\n"))
}

#[derive(Serialize)]
struct Destroyed<'a> {
    deployment: &'a DeploymentName,
}

/// The deployment and the host that it runs on. It need not be in the inventory any
/// more: the journal knows what was made.
async fn find(args: &Destroy, context: &Context) -> Result<(DeploymentName, HostName), CommandError> {
    let unknown = || context.deployment(&args.deployment).map(|deployment| deployment.host.clone());
    let name = match DeploymentName::new(&*args.deployment) {
        Ok(name) => name,
        Err(error) => return Err(unknown().err().unwrap_or_else(|| CommandError::refused(error.to_string()))),
    };
    let made = context.store()?.ledger(Some(&name)).await?;
    let host = match made.iter().find_map(|entry| entry.resource.host().cloned()) {
        Some(host) => host,
        None => unknown()?,
    };
    if context.folder.host(host.as_str()).is_ok() {
        return Ok((name, host));
    }
    Err(CommandError::refused(format!("`{name}` runs on host `{host}`, which the inventory does not have"))
        .hint(format!("Put `hosts/{host}/host.toml` back")))
}

/// Destroying data asks for the name, whatever `--yes` says.
async fn agree(args: &Destroy, ui: Ui, name: &DeploymentName) -> Result<(), CommandError> {
    let flag = format!("--destroy-data={name}");
    let answer = match &args.data_of {
        Some(given) => given.clone(),
        None => ui.ask(&format!("Its data will be gone. Type `{name}` to destroy it: "), &flag).await?,
    };
    match answer.trim() {
        answer if answer == name.as_str() => Ok(()),
        "" => Err(CommandError::refused("The name was not given; nothing was changed")),
        answer => {
            let message = format!("`{answer}` is not the name of the deployment; nothing was changed");
            Err(CommandError::refused(message).hint(format!("Add `{flag}`")))
        }
    }
}
