//! `fedi clone`.

use clap::Args;
use fedi_engine::{EngineError, Outcome};
use fedi_inventory::{Environment, Folder};
use fedi_model::inventory::Deployment;
use fedi_model::manifest::App;
use fedi_model::name::{DeploymentName, Domain};
use fedi_workflow::{PreparedRestore, WorkflowError};
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::commands::backup::name;
use crate::commands::deploy::{release_unmade, show};
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::new_file::NewFile;
use crate::ui::Ui;

/// Bring up a copy of a deployment, under a domain of its own
///
/// A second server with the state of the first, to look at or to rehearse an upgrade on:
/// it has keys of its own, speaks to no other server, and sends nothing to anybody. Its
/// file is written from that of the first, with the settings that fence it in; one that is
/// there is used as it stands. An application that knows no such settings is refused
/// before anything is touched.
#[derive(Debug, Args)]
pub(crate) struct Clone {
    /// The deployment whose snapshot it is made from
    from: String,
    /// The name of the new one
    name: String,
    /// The domain of the new one; may be left out where it has a file
    #[arg(long)]
    domain: Option<String>,
    /// The host of the new one; without it, that of the first
    #[arg(long)]
    host: Option<String>,
    /// The snapshot's id, which may be shortened; without it, the newest that is no fail-safe
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
    if new == from.name {
        return Err(CommandError::refused(format!("`{new}` cannot be a copy of itself"))
            .hint("A clone needs a name of its own"));
    }
    let first = context.workshop(&from.host)?.desk.declared(from).await?;
    if let Some(refused) = fedi_plan::not_clonable(&new, from, &first) {
        return Err(WorkflowError::from(refused).into());
    }
    let (context, written) = with_file(args, &new, &first, &context, global)?;
    match clone(args, &context, &new, first, written.as_ref()).await {
        Ended::Begun(end) => end,
        Ended::NotBegun(end) => {
            if let Some(file) = written {
                file.take_back()?;
            }
            if end.is_ok() {
                ui.say("Nothing was changed");
            }
            end
        }
    }
}

/// How far it came before it ended.
enum Ended {
    /// It was refused, declined or interrupted before anything was done.
    NotBegun(Result<Exit, CommandError>),
    /// A run was begun.
    Begun(Result<Exit, CommandError>),
}

async fn clone(args: &Clone, context: &Context, new: &DeploymentName, first: App, written: Option<&NewFile>) -> Ended {
    let opened = context.deployment(new.as_str()).and_then(|it| Ok((context.workshop(&it.host)?, it)));
    let (workshop, deployment) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ended::NotBegun(Err(error)),
    };
    let agreed = tokio::select! {
        agreed = agree(args, context.ui, &workshop, deployment, first) => agreed,
        () = interrupted() => {
            let released = release_unmade(&workshop, deployment).await;
            return Ended::NotBegun(released.map(|()| Exit::Interrupted));
        }
    };
    let prepared = match agreed {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return Ended::NotBegun(Ok(Exit::Done)),
        Err(error) => return Ended::NotBegun(Err(error)),
    };
    if let Some(file) = written {
        context.ui.say(&format!("Wrote {}", file.path.display()));
    }
    match carry_out(&workshop, context.ui, Work::Start(prepared.plan.clone())).await {
        Ok(outcome) => Ended::Begun(conclude_clone(args, context.ui, &workshop, deployment, &outcome).await),
        Err(error @ EngineError::Cut { .. }) => Ended::Begun(Err(error.into())),
        Err(error) => {
            let given_up = workshop.desk.give_up_restore(&prepared).await;
            Ended::NotBegun(given_up.map_err(CommandError::from).and(Err(error.into())))
        }
    }
}

/// Plans, shows and asks; `None` for no.
async fn agree(
    args: &Clone,
    ui: Ui,
    workshop: &Workshop,
    deployment: &Deployment,
    first: App,
) -> Result<Option<PreparedRestore>, CommandError> {
    let desk = &workshop.desk;
    workshop.no_open_run(&deployment.name).await?;
    let at = desk.pick(&name(&args.from)?, args.snapshot.as_deref()).await?;
    let prepared = desk.clone_to(deployment, first, &at).await?;
    show(ui, &prepared.plan)?;
    let answer = if args.yes { Ok(true) } else { ui.confirm("Carry it out?", "--yes").await };
    if let Ok(true) = answer {
        return Ok(Some(prepared));
    }
    desk.give_up_restore(&prepared).await?;
    answer.map(|_| None)
}

async fn conclude_clone(
    args: &Clone,
    ui: Ui,
    workshop: &Workshop,
    deployment: &Deployment,
    outcome: &Outcome,
) -> Result<Exit, CommandError> {
    let new = &deployment.name;
    if matches!(outcome, Outcome::Unwound { .. }) {
        workshop.desk.forget(new).await?;
    }
    let (url, from) = (format!("https://{}", deployment.domain()), &args.from);
    let text = format!("`{new}` has the state of `{from}`: {url}\nPeople log in with their passwords of `{from}`\n");
    conclude(ui, outcome, &Cloned { deployment: new, url }, &text)
}

/// The inventory with a file for the clone: the one that is there, or a new one, which
/// comes with it.
fn with_file(
    args: &Clone,
    new: &DeploymentName,
    first: &App,
    context: &Context,
    global: &Global,
) -> Result<(Context, Option<NewFile>), CommandError> {
    let from = context.deployment(&args.from)?;
    let domain = match &args.domain {
        Some(domain) => Some(Domain::new(&**domain).map_err(|error| CommandError::refused(error.to_string()))?),
        None => None,
    };
    let there = context.folder.deployment(new.as_str()).ok();
    let Some(domain) = domain.as_ref().or(there.map(Deployment::domain)) else {
        return Err(CommandError::refused(format!("No deployment is called `{new}`"))
            .hint(format!("A new copy is made by `fedi clone {} {new} --domain <domain>`", from.name)));
    };
    if domain == from.domain() {
        return Err(CommandError::refused(format!("`{}` has the domain `{domain}`", from.name))
            .hint("A clone needs a domain of its own"));
    }
    if let Some(deployment) = there {
        agrees(args, domain, deployment)?;
        return Ok((Context::open(global, context.ui)?, None));
    }
    let (host, settings) = context.folder.host(args.host.as_deref().unwrap_or(from.host.as_str()))?;
    let root = context.folder.root();
    let fence = first.fence.clone().unwrap_or_default();
    let path = fedi_inventory::add_clone(root, from, host, new, domain, &fence)?;
    if let Err(error) = Folder::load(root, Environment::of_process()) {
        std::fs::remove_file(&path)?;
        return Err(error.into());
    }
    let beside = root.join(Folder::deployment_path(&from.host, &from.name)).with_extension("nix");
    if beside.is_file() {
        context.ui.say(&format!(
            "{} is not taken over: what it adds may reach people. Write one for `{new}` if it cannot do without",
            beside.strip_prefix(root).unwrap_or(&beside).display()
        ));
    }
    let written = NewFile::written(path, settings)?;
    Ok((Context::open(global, context.ui)?, Some(written)))
}

/// Refuses flags that say something else than the file that is there.
fn agrees(args: &Clone, domain: &Domain, deployment: &Deployment) -> Result<(), CommandError> {
    let file = Folder::deployment_path(&deployment.host, &deployment.name);
    let differs = |what: &str, has: &str, wants: &str| {
        CommandError::refused(format!("`{}` has the {what} `{has}`, not `{wants}`", deployment.name))
            .hint(format!("`{}` says so; take another name, or change it", file.display()))
    };
    if let Some(host) = args.host.as_deref().filter(|host| *host != deployment.host.as_str()) {
        return Err(differs("host", deployment.host.as_str(), host));
    }
    if domain != deployment.domain() {
        return Err(differs("domain", deployment.domain().as_str(), domain.as_str()));
    }
    Ok(())
}
