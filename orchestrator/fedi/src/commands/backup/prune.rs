//! `fedi backup prune`.

use clap::Args;
use fedi_model::name::{DeploymentName, RepositoryName};
use serde::Serialize;

use super::{at_home, names};
use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::{Ui, count};

/// Forget snapshots that the repository's `keep` rules do not keep, and free the room
///
/// The newest snapshot and the last proved one always stay. Takes the operator's rights
/// on the repository; guests have no right to remove.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The deployments; all of them if none is named
    deployments: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Forgotten {
    deployment: DeploymentName,
    repository: RepositoryName,
    snapshots: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    forgotten: Vec<Forgotten>,
}

pub(crate) async fn run(args: &Prune, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let workshop = at_home(&context)?;
    let desk = &workshop.desk;
    let mut outdated = Vec::new();
    for name in names(&args.deployments, &context, desk)? {
        let (repository, mut stored) = desk.snapshots(&name).await?;
        stored.extend(desk.incomplete(&name).await?);
        if stored.is_empty() {
            continue;
        }
        let snapshots = desk.repositories.outdated(&repository, &name).await?;
        for id in &snapshots {
            let at = stored.iter().find(|one| one.id == *id).map(|one| crate::ui::local(one.at));
            let id = id.get(..8).unwrap_or(id);
            ui.say(&format!("- snapshot {id} of `{name}`, taken {}", at.unwrap_or_default()));
        }
        if !snapshots.is_empty() {
            outdated.push((name, repository));
        }
    }
    if outdated.is_empty() {
        ui.report(&Report { forgotten: Vec::new() }, "Every snapshot is kept by the rules\n")?;
        return Ok(Exit::Done);
    }
    if !args.yes && !ui.confirm("Forget them?", "--yes").await? {
        ui.say("Nothing was changed");
        return Ok(Exit::Done);
    }
    let mut forgotten = Vec::new();
    for (deployment, repository) in outdated {
        let snapshots = desk.repositories.prune(&repository, &deployment).await?;
        forgotten.push(Forgotten { deployment, repository, snapshots });
    }
    let all: usize = forgotten.iter().map(|it| it.snapshots.len()).sum();
    ui.report(&Report { forgotten }, &format!("Forgot {}\n", count(all, "snapshot", "snapshots")))?;
    Ok(Exit::Done)
}
