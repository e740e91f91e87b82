//! `fedi destroy`.

use clap::Args;
use fedi_engine::Outcome;
use fedi_model::name::DeploymentName;
use fedi_plan::render;

use crate::carry_out::{Work, carry_out, conclude};
use crate::cli::Global;
use crate::commands::deploy::show;
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
    #[arg(long, value_name = "NAME")]
    destroy_data: Option<String>,
    /// Accepted, but not enough: destroying data asks for the deployment's name
    #[arg(short, long, hide = true)]
    yes: bool,
}

pub(crate) async fn run(args: &Destroy, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let name = DeploymentName::new(&*args.deployment).map_err(|error| CommandError::refused(error.to_string()))?;
    let hosts: Vec<_> = context.folder.inventory().hosts.keys().collect();
    let store = context.store()?;
    let used = store.ledger(Some(&name)).await?.iter().find_map(|entry| entry.resource.host().cloned());
    let host = match (used, context.folder.deployment(name.as_str())) {
        (Some(host), _) => host,
        (None, Ok(deployment)) => deployment.host.clone(),
        (None, Err(unknown)) => return Err(unknown.into()),
    };
    if !hosts.contains(&&host) {
        return Err(CommandError::refused(format!(
            "`{name}` runs on host `{host}`, which the inventory does not have"
        ))
        .hint(format!("Put `hosts/{host}/host.toml` back")));
    }
    drop(store);
    let workshop = context.workshop(&[&host])?;
    if let Some(run) = workshop.desk.open_run(&name).await? {
        return Err(CommandError::refused(format!("Run {} of `{name}` is not finished", run.id))
            .hint(format!("Go on with `fedi run resume {0}`, or take it back with `fedi run undo {0}`", run.id)));
    }
    let (plan, _) = workshop.desk.destroy(&name).await?;
    if plan.is_empty() {
        ui.report(&plan, &render::plan(&plan))?;
        return Ok(Exit::Done);
    }
    show(ui, &plan)?;
    confirm(args, ui, &name)?;
    let outcome = carry_out(&workshop, ui, Work::Start(plan)).await?;
    if let Outcome::Completed { .. } = outcome {
        workshop.desk.forget(&name).await?;
    }
    conclude(ui, &outcome, &format!("`{name}` is destroyed\n"))
}

/// Destroying data asks for the name, whatever `--yes` says.
fn confirm(args: &Destroy, ui: Ui, name: &DeploymentName) -> Result<(), CommandError> {
    let flag = format!("--destroy-data={name}");
    let answer = match &args.destroy_data {
        Some(given) => given.clone(),
        None => ui.ask(&format!("Its data will be gone. Type `{name}` to destroy it: "), &flag)?,
    };
    if answer.trim() == name.as_str() {
        return Ok(());
    }
    Err(CommandError::refused(format!("`{}` is not the name of the deployment; nothing was changed", answer.trim()))
        .hint(format!("Add `{flag}`")))
}
