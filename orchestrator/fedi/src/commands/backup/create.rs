//! `fedi backup create`.

use clap::{Args, ValueEnum};
use fedi_model::name::RepositoryName;
use fedi_model::state::Consistency;
use fedi_plan::render;
use fedi_workflow::Done;
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::commands::deploy::show;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Capture a deployment's state into its repository
///
/// Databases, files, queues and the secrets without which the application would be
/// another one go into an encrypted restic repository, as `[backups]` of fedi.toml has
/// it. The application keeps running unless `--consistency quiesced` asks for more.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The deployment
    deployment: String,
    /// What may move meanwhile; without it, as the deployment's file says
    #[arg(long, value_enum, value_name = "HOW")]
    consistency: Option<How>,
}

/// What may move while state is captured.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    /// the application runs, its parts are captured in any order
    Live,
    /// the application runs, databases are captured before files
    DumpThenFiles,
    /// the application is stopped meanwhile
    Quiesced,
}

impl From<How> for Consistency {
    fn from(how: How) -> Self {
        match how {
            How::Live => Self::Live,
            How::DumpThenFiles => Self::DumpThenFiles,
            How::Quiesced => Self::Quiesced,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Captured {
    repository: RepositoryName,
    #[serde(flatten)]
    done: Option<Done>,
}

pub(crate) async fn run(args: &Create, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let deployment = context.deployment(&args.deployment)?;
    let workshop = context.workshop(&deployment.host)?;
    let name = &deployment.name;
    workshop.no_open_run(name).await?;
    let prepared = tokio::select! {
        prepared = workshop.desk.backup(name, args.consistency.map(Consistency::from)) => prepared?,
        () = interrupted() => return Ok(Exit::Interrupted),
    };
    show(ui, &prepared.plan)?;
    let outcome = carry_out(&workshop, ui, Work::Start(prepared.plan)).await?;
    let done = workshop.desk.backup_history(name).await?.last;
    let text = match &done {
        Some(done) => captured(name.as_str(), done),
        None => String::new(),
    };
    conclude(ui, &outcome, &Captured { repository: prepared.repository, done }, &text)
}

/// `matrix` is captured: snapshot 1a2b3c4d, 12 MiB (3 MiB new).
pub(super) fn captured(name: &str, done: &Done) -> String {
    let id = done.snapshot.get(..8).unwrap_or(&done.snapshot);
    let size = done.bytes.map(|bytes| format!(", {}", render::bytes(bytes))).unwrap_or_default();
    let new = done.new_bytes.map(|bytes| format!(" ({} new)", render::bytes(bytes))).unwrap_or_default();
    format!("`{name}` is captured: snapshot {id}{size}{new}\n")
}
