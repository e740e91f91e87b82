//! `fedi backup`: one file a command.

mod check;
mod create;
mod drill;
mod list;
mod prune;
pub(crate) mod restore;
mod show;

use clap::Subcommand;
use fedi_model::name::DeploymentName;
use fedi_workflow::Desk;

use crate::cli::Global;
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Capture an application's whole state, bring it back, and prove that it comes back
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Backup {
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Restore(restore::Restore),
    Drill(drill::Drill),
    Prune(prune::Prune),
    Check(check::Check),
}

pub(crate) async fn run(command: &Backup, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    match command {
        Backup::Create(args) => create::run(args, global, ui).await,
        Backup::List(args) => list::run(args, global, ui).await,
        Backup::Show(args) => show::run(args, global, ui).await,
        Backup::Restore(args) => restore::run(args, global, ui).await,
        Backup::Drill(args) => drill::run(args, global, ui).await,
        Backup::Prune(args) => prune::run(args, global, ui).await,
        Backup::Check(args) => check::run(args, global, ui).await,
    }
}

/// The journal and the repositories, without any host: for what the operator's machine
/// does by itself.
fn at_home(context: &Context) -> Result<Workshop, CommandError> {
    context.workshop_of([])
}

/// A deployment's name. It need not be in the inventory any more: its snapshots may be
/// all that is left.
pub(crate) fn name(text: &str) -> Result<DeploymentName, CommandError> {
    DeploymentName::new(text).map_err(|error| CommandError::refused(error.to_string()))
}

/// The named ones, or all that the inventory has and that have a repository. Refused where
/// there is no repository at all: nothing was looked at then.
fn names(given: &[String], context: &Context, desk: &Desk) -> Result<Vec<DeploymentName>, CommandError> {
    if !given.is_empty() {
        return given.iter().map(|text| name(text)).collect();
    }
    if context.folder.fedi().backups.is_empty() {
        return Err(CommandError::refused("The inventory has no repository for backups")
            .hint("Add `[backups.main]` to fedi.toml; docs/backups.md shows how"));
    }
    let all = context.folder.inventory().deployments.keys();
    Ok(all.filter(|name| desk.repository_of(name).is_ok()).cloned().collect())
}
