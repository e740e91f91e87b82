//! `fedi backup list`.

use clap::Args;
use fedi_engine::drivers::StoredSnapshot;
use fedi_model::name::{DeploymentName, RepositoryName};
use jiff::Timestamp;
use serde::Serialize;

use super::{at_home, names};
use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::{Table, Ui, local};

/// List the snapshots of deployments, the oldest first
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The deployments; all of them if none is named
    deployments: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    id: String,
    deployment: DeploymentName,
    repository: RepositoryName,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<String>,
    proved: bool,
    /// Whether its capture came to its end; from others nothing is restored.
    complete: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    snapshots: Vec<Listed>,
}

pub(crate) async fn run(args: &List, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let workshop = at_home(&context)?;
    let mut snapshots = Vec::new();
    for name in names(&args.deployments, &context, &workshop.desk)? {
        let (repository, stored) = workshop.desk.snapshots(&name).await?;
        snapshots.extend(stored.into_iter().map(|one| listed(one, &name, &repository, true)));
        let incomplete = workshop.desk.incomplete(&name).await?;
        snapshots.extend(incomplete.into_iter().map(|one| listed(one, &name, &repository, false)));
    }
    let mut table = Table::new(&["snapshot", "deployment", "taken", "version", "consistency", "proved"]);
    for one in &snapshots {
        table.row(vec![
            one.id.get(..8).unwrap_or(&one.id).to_owned(),
            one.deployment.to_string(),
            local(one.at),
            one.version.clone().unwrap_or_default(),
            one.consistency.clone().unwrap_or_default(),
            match (one.complete, one.proved) {
                (false, _) => "incomplete",
                (true, true) => "proved",
                (true, false) => "",
            }
            .to_owned(),
        ]);
    }
    let text = if snapshots.is_empty() { "No snapshots\n".to_owned() } else { table.render() };
    ui.report(&Report { snapshots }, &text)?;
    Ok(Exit::Done)
}

fn listed(one: StoredSnapshot, deployment: &DeploymentName, repository: &RepositoryName, complete: bool) -> Listed {
    Listed {
        deployment: deployment.clone(),
        repository: repository.clone(),
        at: one.at,
        version: one.tag("version").map(str::to_owned),
        consistency: one.tag("consistency").map(str::to_owned),
        proved: one.is_proved(),
        complete,
        id: one.id,
    }
}
