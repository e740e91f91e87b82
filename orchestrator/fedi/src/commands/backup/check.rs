//! `fedi backup check`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use fedi_model::name::{DeploymentName, RepositoryName};
use serde::Serialize;

use super::{at_home, names};
use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::{Ui, local};

/// Check that repositories are whole, and whether a crash left a lock behind
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Those of these deployments; all of them if none is named
    deployments: Vec<String>,
    /// How much of the content to read as well, in percent
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    read: u8,
    /// Remove locks whose owners are gone
    #[arg(long)]
    unlock: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Checked {
    repository: RepositoryName,
    /// Whose it is, where each deployment has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentName>,
    stale_locks: usize,
    unlocked: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    repositories: Vec<Checked>,
}

pub(crate) async fn run(args: &Check, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let workshop = at_home(&context)?;
    let desk = &workshop.desk;
    let mut seen = BTreeSet::new();
    let (mut repositories, mut text) = (Vec::new(), String::new());
    for name in names(&args.deployments, &context, desk)? {
        let (repository, stored) = desk.snapshots(&name).await?;
        let own = context.folder.fedi().backups.get(&repository).is_some_and(|it| it.per_deployment);
        let owner = own.then(|| name.clone());
        if stored.is_empty() || !seen.insert((repository.clone(), owner.clone())) {
            continue;
        }
        let which = match &owner {
            Some(owner) => format!("Repository `{repository}` of `{owner}`"),
            None => format!("Repository `{repository}`"),
        };
        let locks = desk.repositories.locks(&repository, &name).await?;
        for lock in &locks {
            let word = if lock.stale { "left behind by" } else { "held by" };
            ui.say(&format!("{which} has a lock {word} {}, {}", lock.holder, local(lock.at)));
        }
        let stale_locks = locks.iter().filter(|lock| lock.stale).count();
        if args.unlock && stale_locks > 0 {
            desk.repositories.remove_stale_locks(&repository, &name).await?;
        }
        desk.repositories.check(&repository, &name, args.read).await?;
        let _ = writeln!(text, "{which} is whole");
        let unlocked = args.unlock && stale_locks > 0;
        repositories.push(Checked { repository, deployment: owner, stale_locks, unlocked });
    }
    if repositories.is_empty() {
        text.push_str("There is nothing to check: no snapshots\n");
    }
    ui.report(&Report { repositories }, &text)?;
    Ok(Exit::Done)
}
