//! `fedi backup show`.

use std::fmt::Write as _;

use clap::Args;
use fedi_model::resource::SnapshotRef;
use fedi_plan::render;
use serde::Serialize;

use super::{at_home, name};
use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Show what a snapshot holds
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The deployment
    deployment: String,
    /// The snapshot's id, which may be shortened; without it, the newest that is no fail-safe
    snapshot: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    snapshot: &'a SnapshotRef,
    manifest: &'a fedi_state::Snapshot,
}

pub(crate) async fn run(args: &Show, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let workshop = at_home(&context)?;
    let at = workshop.desk.pick(&name(&args.deployment)?, args.snapshot.as_deref()).await?;
    let snapshot = workshop.desk.snapshot(&at).await?;
    let (facts, manifest) = (&snapshot.facts, &snapshot.manifest);
    let mut text = format!("Snapshot {} of `{}` in repository `{}`\n", at.id, at.deployment, at.repository);
    let rows = [
        ("application", format!("{} {}", facts.app, facts.version)),
        ("taken", facts.taken.clone()),
        ("consistency", facts.consistency.to_string()),
        ("epoch", manifest.epoch.to_string()),
        ("state", render::bytes(facts.bytes)),
    ];
    for (what, value) in rows {
        let _ = writeln!(text, "  {what:<13}{value}");
    }
    for (title, lines) in [
        ("items", facts.items.clone()),
        ("secrets", manifest.secrets.keys().map(ToString::to_string).collect::<Vec<_>>()),
    ] {
        let mut title = title;
        for line in lines {
            let _ = writeln!(text, "  {title:<13}{line}");
            title = "";
        }
    }
    ui.report(&Report { snapshot: &at, manifest }, &text)?;
    Ok(Exit::Done)
}
