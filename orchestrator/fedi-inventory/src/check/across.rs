//! What holds between files: a name and a domain are there once, a domain lies in a
//! zone of its host.

use std::collections::BTreeMap;

use fedi_model::inventory::{BackupWishes, FediFile, HostFile};
use fedi_model::name::{DeploymentName, Domain, HostName, RepositoryName};
use fedi_model::resource::reserved_for_repositories;

use super::{Findings, at};
use crate::document::Place;
use crate::problem::Problem;
use crate::read::Files;
use crate::suggest::list;

/// Takes down what is wrong between files.
pub(crate) fn check(files: &Files, problems: &mut Vec<Problem>) {
    let mut names: BTreeMap<&DeploymentName, &HostName> = BTreeMap::new();
    let mut domains: BTreeMap<&Domain, &DeploymentName> = BTreeMap::new();
    for (host_name, host) in &files.hosts {
        for (name, file, _) in &host.deployments {
            let mut findings = Findings::new(&file.document, problems);
            let domain = &file.value.domain;
            if let Some(other) = names.insert(name, host_name) {
                findings.add_with_hint(
                    &Place::root(),
                    format!("Host `{other}` has a deployment `{name}` too"),
                    "A deployment's name is unique over all hosts: rename one of the files",
                );
            } else if let Some(other) = domains.insert(domain, name) {
                findings.add_with_hint(
                    &at(&["domain"]),
                    format!("The domain `{domain}` belongs to deployment `{other}` too"),
                    "Give one of them another domain, or remove its file",
                );
            }
            if let Some(fedi) = &files.fedi {
                in_a_repository(&file.value.backup, &fedi.value, &mut findings);
            }
            if *name == reserved_for_repositories() {
                findings.add_with_hint(
                    &Place::root(),
                    format!("`{name}` is where the passwords of repositories are kept"),
                    "Take another name for the deployment",
                );
            }
            if let Some(host) = &host.file {
                in_a_zone(domain, host_name, &host.value, &mut findings);
            }
        }
    }
}

fn in_a_repository(wishes: &BackupWishes, fedi: &FediFile, findings: &mut Findings<'_>) {
    let known = || list(fedi.backups.keys().map(RepositoryName::as_str));
    match &wishes.repository {
        Some(name) if !fedi.backups.contains_key(name) => {
            let hint = match fedi.backups.len() {
                0 => format!("Add `[backups.{name}]` to fedi.toml"),
                _ => format!("fedi.toml has {}", known()),
            };
            findings.add_with_hint(&at(&["backup", "repository"]), format!("No repository is called `{name}`"), hint);
        }
        None if wishes.schedule.is_some() && fedi.backups.len() != 1 => {
            let hint = match fedi.backups.len() {
                0 => "Add `[backups.main]` to fedi.toml".to_owned(),
                _ => format!("Set `backup.repository` to one of {}", known()),
            };
            findings.add_with_hint(&at(&["backup", "schedule"]), "It is not said where backups go", hint);
        }
        _ => {}
    }
}

fn in_a_zone(domain: &Domain, host_name: &HostName, host: &HostFile, findings: &mut Findings<'_>) {
    let zones = &host.dns.zones;
    if zones.iter().any(|zone| domain.is_within(&zone.name)) {
        return;
    }
    let hint = if zones.is_empty() {
        format!("Add `[[dns.zones]]` to `hosts/{host_name}/host.toml`")
    } else {
        let zones = list(zones.iter().map(|zone| zone.name.as_str()));
        format!("`{host_name}` has {zones}; take a name in one, or add a zone to its `host.toml`")
    };
    findings.add_with_hint(&at(&["domain"]), format!("`{domain}` lies in no zone of host `{host_name}`"), hint);
}
