//! `fedi clone`.

use clap::Args;
use fedi_engine::Outcome;
use fedi_inventory::{Environment, Folder};
use fedi_model::name::{DeploymentName, Domain};
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::commands::backup::name;
use crate::commands::deploy::show;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Bring up a second deployment with another's state, under a domain of its own
///
/// The copy has an identity of its own and can never federate as the first. That takes
/// an application which can rewrite its name in its data (`hooks.rehome` of its system);
/// one that cannot is refused before anything is touched.
#[derive(Debug, Args)]
pub(crate) struct Clone {
    /// The deployment whose snapshot it is made from
    from: String,
    /// The name of the new one
    name: String,
    /// The domain of the new one
    #[arg(long)]
    domain: String,
    /// The host of the new one; without it, that of the first
    #[arg(long)]
    host: Option<String>,
    /// The snapshot's id, which may be shortened; without it, the newest
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cloned<'a> {
    deployment: &'a DeploymentName,
    url: String,
}

pub(crate) async fn run(args: &Clone, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let from = context.deployment(&args.from)?;
    let new = name(&args.name)?;
    let domain = Domain::new(&*args.domain).map_err(|error| CommandError::refused(error.to_string()))?;
    if domain == *from.domain() {
        return Err(CommandError::refused(format!("`{}` has the domain `{domain}`", from.name))
            .hint("A clone needs a domain of its own"));
    }
    let (host, _) = context.folder.host(args.host.as_deref().unwrap_or(from.host.as_str()))?;
    let root = context.folder.root();
    let path = fedi_inventory::add_deployment(root, host, &new, from.app(), &domain)?;
    let begun = match Folder::load(root, Environment::of_process()) {
        Ok(_) => begin(args, global, ui, &new).await,
        Err(error) => Err(error.into()),
    };
    match begun {
        Ok(Some(end)) => end,
        Ok(None) => {
            std::fs::remove_file(&path)?;
            ui.say("Nothing was changed");
            Ok(Exit::Done)
        }
        Err(error) => {
            std::fs::remove_file(&path)?;
            Err(error)
        }
    }
}

/// Plans, asks and carries it out; `None` for no. An error means that nothing was begun.
async fn begin(
    args: &Clone,
    global: &Global,
    ui: Ui,
    new: &DeploymentName,
) -> Result<Option<Result<Exit, CommandError>>, CommandError> {
    let context = Context::open(global, ui)?;
    let (from, deployment) = (context.deployment(&args.from)?, context.deployment(new.as_str())?);
    let workshop = context.workshop(&deployment.host)?;
    let desk = &workshop.desk;
    workshop.no_open_run(new).await?;
    let prepared = tokio::select! {
        prepared = async {
            let at = desk.pick(&from.name, args.snapshot.as_deref()).await?;
            desk.clone_to(deployment, &at).await
        } => prepared?,
        () = interrupted() => return Ok(None),
    };
    show(ui, &prepared.plan)?;
    let answer = if args.yes { Ok(true) } else { ui.confirm("Carry it out?", "--yes").await };
    if !matches!(answer, Ok(true)) {
        desk.give_up_restore(&prepared).await?;
        return answer.map(|_| None);
    }
    let outcome = match carry_out(&workshop, ui, Work::Start(prepared.plan.clone())).await {
        Ok(outcome) => outcome,
        Err(error) => return Ok(Some(Err(error.into()))),
    };
    if matches!(outcome, Outcome::Unwound { .. }) {
        desk.forget(new).await?;
    }
    let url = format!("https://{}", deployment.domain());
    let text = format!("`{new}` has the state of `{}`: {url}\n", from.name);
    Ok(Some(conclude(ui, &outcome, &Cloned { deployment: new, url }, &text)))
}
