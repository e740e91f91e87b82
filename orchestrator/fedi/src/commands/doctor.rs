//! `fedi doctor`.

use std::fmt::Write as _;

use clap::Args;
use fedi_engine::drivers::HypervisorReport;
use fedi_model::inventory::HostFile;
use fedi_model::name::HostName;
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::examine::{Examination, Problem, examine_here, examine_host};
use crate::ui::Ui;

/// Examine this machine and a host: keys, versions, storages, network, and the rights of
/// fedi's token
///
/// Changes nothing. Prints the rights that are missing and the commands that grant them.
/// Exits with 2 when there is something to put right.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The host; all of them if none is named
    host: Option<String>,
}

/// A host, examined.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Examined {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(flatten)]
    examination: Examination,
    missing: Vec<Missing>,
    grant: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Missing {
    path: String,
    privilege: String,
    purpose: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    here: Examination,
    hosts: Vec<Examined>,
}

pub(crate) async fn run(args: &Doctor, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let hosts = context.hosts(args.host.as_deref())?;
    let here = examine_here(&context).await;
    let examined = hosts.iter().map(|(name, host)| examine(&context, name, host));
    let report = Report { here, hosts: futures::future::join_all(examined).await };
    ui.report(&report, &text(&report))?;
    if report.hosts.is_empty() {
        ui.say("\nThe inventory has no hosts; describe one with `fedi host add`");
    }
    let fine = report.here.problems.is_empty() && report.hosts.iter().all(Examined::is_fine);
    Ok(if fine { Exit::Done } else { Exit::Refused })
}

impl Examined {
    fn is_fine(&self) -> bool {
        self.examination.problems.is_empty() && self.missing.is_empty()
    }
}

async fn examine(context: &Context, name: &HostName, host: &HostFile) -> Examined {
    let mut examination = examine_host(context, name, host).await;
    let report = async {
        let store = context.store()?;
        Ok::<_, CommandError>(context.hypervisor(name, host, &store)?.examine().await?)
    };
    match report.await {
        Ok(report) => {
            let HypervisorReport { version, fine, problems, missing, grant } = report;
            examination.fine.splice(0..0, fine);
            examination.problems.splice(0..0, problems.into_iter().map(Problem::from));
            let missing = missing.into_iter();
            let missing = missing.map(|it| Missing { path: it.path, privilege: it.privilege, purpose: it.purpose });
            Examined { host: name.to_string(), version: Some(version), examination, missing: missing.collect(), grant }
        }
        Err(error) => {
            examination.problems.insert(0, error.into());
            Examined { host: name.to_string(), version: None, examination, missing: Vec::new(), grant: Vec::new() }
        }
    }
}

fn text(report: &Report) -> String {
    let mut text = String::from("this machine\n");
    findings(&mut text, &report.here);
    for host in &report.hosts {
        let version = host.version.as_ref().map_or_else(String::new, |version| format!(": {version}"));
        let _ = writeln!(text, "\n{}{version}", host.host);
        findings(&mut text, &host.examination);
        for missing in &host.missing {
            let _ = writeln!(text, "  missing  `{}` on `{}`, for {}", missing.privilege, missing.path, missing.purpose);
        }
        if !host.grant.is_empty() {
            let _ = writeln!(text, "\nRun on `{}`, as its administrator:\n", host.host);
            for command in &host.grant {
                let _ = writeln!(text, "  {command}");
            }
        }
    }
    text
}

fn findings(text: &mut String, examination: &Examination) {
    for line in &examination.fine {
        let _ = writeln!(text, "  ok       {line}");
    }
    for problem in &examination.problems {
        let _ = writeln!(text, "  problem  {}", problem.message);
        for cause in &problem.causes {
            let _ = writeln!(text, "             Caused by: {}", cause.replace('\n', "\n               "));
        }
        for hint in problem.hint.iter().flat_map(|hint| hint.lines()) {
            let _ = writeln!(text, "             hint: {hint}");
        }
    }
}
