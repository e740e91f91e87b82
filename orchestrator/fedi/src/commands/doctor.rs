//! `fedi doctor`.

use std::fmt::Write as _;

use clap::Args;
use fedi_engine::drivers::HypervisorReport;
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Examine a host: its version, storages, network, and the rights of fedi's token
///
/// Prints the rights that are missing and the commands that grant them.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The host; all of them if none is named
    host: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Examined<'a> {
    host: &'a str,
    version: &'a str,
    fine: &'a [String],
    problems: Vec<Problem<'a>>,
    missing: Vec<Missing<'a>>,
    grant: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem<'a> {
    message: &'a str,
    hint: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Missing<'a> {
    path: &'a str,
    privilege: &'a str,
    purpose: &'a str,
}

pub(crate) async fn run(args: &Doctor, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let names: Vec<_> = match &args.host {
        Some(name) => vec![context.folder.host(name)?.0],
        None => context.folder.inventory().hosts.keys().collect(),
    };
    let store = context.store()?;
    context.secrets()?.check().await?;
    let mut exit = Exit::Done;
    for name in names {
        let (name, host) = context.folder.host(name.as_str())?;
        let report = context.hypervisor(name, host, &store)?.examine().await?;
        ui.report(&json(name.as_str(), &report), &text(name.as_str(), &report))?;
        if !report.problems.is_empty() || !report.missing.is_empty() {
            exit = Exit::Refused;
        }
    }
    Ok(exit)
}

fn json<'a>(host: &'a str, report: &'a HypervisorReport) -> Examined<'a> {
    Examined {
        host,
        version: &report.version,
        fine: &report.fine,
        problems: report.problems.iter().map(|(message, hint)| Problem { message, hint: hint.as_deref() }).collect(),
        missing: report
            .missing
            .iter()
            .map(|it| Missing { path: &it.path, privilege: &it.privilege, purpose: &it.purpose })
            .collect(),
        grant: &report.grant,
    }
}

fn text(host: &str, report: &HypervisorReport) -> String {
    let mut text = format!("{host}: {}\n", report.version);
    for line in &report.fine {
        let _ = writeln!(text, "  ok       {line}");
    }
    for (message, hint) in &report.problems {
        let _ = writeln!(text, "  problem  {message}");
        if let Some(hint) = hint {
            let _ = writeln!(text, "           hint: {hint}");
        }
    }
    for missing in &report.missing {
        let _ = writeln!(text, "  missing  {} on {} ({})", missing.privilege, missing.path, missing.purpose);
    }
    if !report.grant.is_empty() {
        let _ = writeln!(text, "\nRun on the hypervisor, as its administrator:\n");
        for command in &report.grant {
            let _ = writeln!(text, "  {command}");
        }
    }
    text
}
