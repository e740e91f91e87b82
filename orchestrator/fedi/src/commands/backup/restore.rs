//! `fedi backup restore`.

use clap::Args;
use fedi_engine::{EngineError, Outcome};
use fedi_inventory::{Environment, Folder};
use fedi_model::inventory::Deployment;
use fedi_model::name::{DeploymentName, Domain, HostName};
use fedi_model::plan::{Action, Plan};
use fedi_model::resource::{Resource, ResourceId, SnapshotRef};
use fedi_workflow::PreparedRestore;
use serde::Serialize;

use super::{at_home, name};
use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::commands::deploy::show;
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Bring a deployment back as a snapshot has it
///
/// Where it has no guest, a new one is made, on `--host` if that is given: the files of
/// the deployment move there. Where it has one, what is in it is captured first, replaced
/// then, and comes back if the restore fails.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The deployment
    deployment: String,
    /// The snapshot's id, which may be shortened; without it, the newest that is no fail-safe
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// The host to bring it up on; without it, the one that its file lies under
    #[arg(long)]
    host: Option<String>,
    /// The domain, where the inventory does not have the deployment any more
    #[arg(long)]
    domain: Option<String>,
    /// Do not ask; not enough where data is replaced
    #[arg(short, long)]
    yes: bool,
    /// The deployment's name once more, where its data is replaced
    #[arg(long, value_name = "NAME")]
    replace_data: Option<String>,
}

/// A restored deployment, for programs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Restored<'a> {
    url: String,
    snapshot: &'a SnapshotRef,
}

/// What was changed in the inventory for this command. It is changed back if nothing
/// is begun.
enum Change {
    None,
    Written(std::path::PathBuf),
    Moved { name: DeploymentName, from: HostName, to: HostName },
}

impl Change {
    fn take_back(self, context: &Context) -> Result<(), CommandError> {
        match self {
            Self::None => Ok(()),
            Self::Written(path) => Ok(std::fs::remove_file(path)?),
            Self::Moved { name, from, to } => {
                fedi_inventory::move_deployment(context.folder.root(), &name, &to, &from)?;
                Ok(())
            }
        }
    }
}

pub(crate) async fn run(args: &Restore, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let name = name(&args.deployment)?;
    let (context, change) = with_file(args, &name, context, global).await?;
    let begun = match restore(args, &context, &name).await {
        Ok(Begun::Yes(end)) => return end,
        Ok(Begun::No(exit)) => Ok(exit),
        Err(error) => Err(error),
    };
    change.take_back(&context)?;
    if begun.is_ok() {
        ui.say("Nothing was changed");
    }
    begun
}

/// How far it came.
enum Begun {
    Yes(Result<Exit, CommandError>),
    No(Exit),
}

async fn restore(args: &Restore, context: &Context, name: &DeploymentName) -> Result<Begun, CommandError> {
    let deployment = context.deployment(name.as_str())?;
    let workshop = context.workshop(&deployment.host)?;
    workshop.no_open_run(name).await?;
    let agreed = tokio::select! {
        agreed = agree(args, context.ui, &workshop, deployment) => agreed?,
        () = interrupted() => return Ok(Begun::No(Exit::Interrupted)),
    };
    let Some(prepared) = agreed else { return Ok(Begun::No(Exit::Done)) };
    workshop.desk.begin_restore(&prepared).await?;
    let outcome = match carry_out(&workshop, context.ui, Work::Start(prepared.plan.clone())).await {
        Ok(outcome) => outcome,
        Err(error @ EngineError::Cut { .. }) => return Ok(Begun::Yes(Err(error.into()))),
        Err(error) => {
            workshop.desk.give_up_restore(&prepared).await?;
            return Err(error.into());
        }
    };
    if matches!(outcome, Outcome::Unwound { .. }) {
        workshop.desk.forget(name).await?;
    }
    let url = format!("https://{}", deployment.domain());
    let text = format!("`{name}` is back as of {}: {url}\n", prepared.snapshot.taken);
    let report = Restored { url, snapshot: &prepared.snapshot.at };
    Ok(Begun::Yes(conclude(context.ui, &outcome, &report, &text)))
}

/// Shows the plan and asks; `None` for no.
async fn agree(
    args: &Restore,
    ui: Ui,
    workshop: &Workshop,
    deployment: &Deployment,
) -> Result<Option<PreparedRestore>, CommandError> {
    let at = workshop.desk.pick(&deployment.name, args.snapshot.as_deref()).await?;
    let prepared = workshop.desk.restore(deployment, &at).await?;
    show(ui, &prepared.plan)?;
    let answer = if replaces(&prepared.plan) {
        by_name(args, ui, &deployment.name).await
    } else if args.yes {
        Ok(true)
    } else {
        ui.confirm("Carry it out?", "--yes").await
    };
    if let Ok(true) = answer {
        return Ok(Some(prepared));
    }
    workshop.desk.give_up_restore(&prepared).await?;
    answer.map(|_| None)
}

/// Whether there is something in the place of the state.
fn replaces(plan: &Plan) -> bool {
    plan.steps().any(|step| match &step.action {
        Action::Ensure { desired, observed } => matches!(**desired, Resource::State(_)) && observed.is_some(),
        _ => false,
    })
}

/// Replacing data asks for the name, whatever `--yes` says.
async fn by_name(args: &Restore, ui: Ui, name: &DeploymentName) -> Result<bool, CommandError> {
    let flag = format!("--replace-data={name}");
    let answer = match &args.replace_data {
        Some(given) => given.clone(),
        None => ui.ask(&format!("Its data will be replaced. Type `{name}` to go on: "), &flag).await?,
    };
    match answer.trim() {
        answer if answer == name.as_str() => Ok(true),
        "" => Err(CommandError::refused("The name was not given; nothing was changed")),
        answer => {
            let message = format!("`{answer}` is not the name of the deployment; nothing was changed");
            Err(CommandError::refused(message).hint(format!("Add `{flag}`")))
        }
    }
}

/// The inventory with the deployment's file where it is wanted.
async fn with_file(
    args: &Restore,
    name: &DeploymentName,
    context: Context,
    global: &Global,
) -> Result<(Context, Change), CommandError> {
    let Ok(deployment) = context.folder.deployment(name.as_str()) else {
        return written(args, name, context, global).await;
    };
    let file = Folder::deployment_path(&deployment.host, name);
    if let Some(domain) = args.domain.as_deref().filter(|domain| *domain != deployment.domain().as_str()) {
        let message = format!("`{name}` has the domain `{}`, not `{domain}`", deployment.domain());
        return Err(CommandError::refused(message)
            .hint(format!("A domain is part of an application's identity; `{}` says which", file.display())));
    }
    let Some(to) = args.host.as_deref().filter(|host| *host != deployment.host.as_str()) else {
        return Ok((context, Change::None));
    };
    let (to, _) = context.folder.host(to)?;
    let (from, to) = (deployment.host.clone(), to.clone());
    if context.store()?.ledger_entry(&ResourceId::vm(name)).await?.is_some() {
        return Err(CommandError::refused(format!("`{name}` runs on host `{from}`"))
            .cause("Two guests of one deployment would both be it")
            .hint(format!("Run `fedi destroy {name}` first; its snapshots stay")));
    }
    fedi_inventory::move_deployment(context.folder.root(), name, &from, &to)?;
    let change = Change::Moved { name: name.clone(), from, to };
    reload(&context, global, change)
}

/// A deployment of which snapshots are all that is left: they know its application.
async fn written(
    args: &Restore,
    name: &DeploymentName,
    context: Context,
    global: &Global,
) -> Result<(Context, Change), CommandError> {
    let (Some(host), Some(domain)) = (&args.host, &args.domain) else {
        return Err(CommandError::refused(format!("No deployment is called `{name}`"))
            .hint("Say where it is to be with `--host` and `--domain`, and its snapshots are looked for"));
    };
    let domain = Domain::new(&**domain).map_err(|error| CommandError::refused(error.to_string()))?;
    let desk = at_home(&context)?.desk;
    let at = desk.pick(name, args.snapshot.as_deref()).await?;
    let app = desk.snapshot(&at).await?.facts.app;
    let (host, _) = context.folder.host(host)?;
    let path = fedi_inventory::add_deployment(context.folder.root(), host, name, &app, &domain)?;
    reload(&context, global, Change::Written(path))
}

fn reload(context: &Context, global: &Global, change: Change) -> Result<(Context, Change), CommandError> {
    if let Err(error) = Folder::load(context.folder.root(), Environment::of_process()) {
        change.take_back(context)?;
        return Err(error.into());
    }
    Ok((Context::open(global, context.ui)?, change))
}
