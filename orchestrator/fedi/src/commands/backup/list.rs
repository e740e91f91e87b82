//! `fedi backup list`.

use clap::Args;
use fedi_engine::drivers::StoredSnapshot;
use fedi_model::inventory::BackupRepository;
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
    /// Whether it is of what a restore replaced.
    fail_safe: bool,
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
        let file = context.folder.fedi().backups.get(&repository);
        if let Some(note) = file.filter(|_| stored.is_empty()).and_then(|file| looked_for(file, &repository, &name)) {
            ui.say(&note);
        }
        snapshots.extend(stored.into_iter().map(|one| listed(one, &name, &repository, true)));
        let incomplete = workshop.desk.incomplete(&name).await?;
        snapshots.extend(incomplete.into_iter().map(|one| listed(one, &name, &repository, false)));
    }
    // One that the inventory does not have any more may have left some; else it is a mistake.
    for name in &args.deployments {
        if !snapshots.iter().any(|one| one.deployment.as_str() == name) {
            context.deployment(name)?;
        }
    }
    let mut table = Table::new(&["snapshot", "deployment", "taken", "version", "consistency", "proved"]);
    for one in &snapshots {
        table.row(vec![
            one.id.get(..8).unwrap_or(&one.id).to_owned(),
            one.deployment.to_string(),
            local(one.at),
            one.version.clone().unwrap_or_default(),
            one.consistency.clone().unwrap_or_default(),
            match one {
                Listed { complete: false, .. } => "incomplete",
                Listed { proved: true, .. } => "proved",
                Listed { fail_safe: true, .. } => "fail-safe",
                Listed { .. } => "",
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
        fail_safe: one.is_fail_safe(),
        complete,
        id: one.id,
    }
}

/// Where nothing was found, if that is a folder: one that is not mounted is there and empty.
fn looked_for(file: &BackupRepository, repository: &RepositoryName, deployment: &DeploymentName) -> Option<String> {
    let place = file.operator_location.as_ref().unwrap_or(&file.location);
    place.starts_with('/').then(|| {
        format!(
            "Nothing of `{deployment}` is in `{place}` on this machine, where repository `{repository}` is looked for"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_which_nothing_is_found_is_named() {
        let said = |text: &str| {
            let name = (RepositoryName::new("main").unwrap(), DeploymentName::new("matrix").unwrap());
            looked_for(&serde_json::from_str(text).unwrap(), &name.0, &name.1)
        };
        assert!(said(r#"{ "location": "/srv/backup" }"#).unwrap().contains("`/srv/backup` on this machine"));
        assert_eq!(said(r#"{ "location": "/srv/backup", "operator-location": "sftp:root@guest:/srv/backup" }"#), None);
        assert_eq!(said(r#"{ "location": "rest:https://host/" }"#), None);
    }
}
