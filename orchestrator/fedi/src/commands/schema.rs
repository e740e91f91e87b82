//! `fedi schema`.

use clap::{Args, ValueEnum};
use fedi_inventory::FileKind;
use serde_json::json;

use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Print the JSON Schema of one of the inventory's files, for editors
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Which file
    file: File,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum File {
    /// fedi.toml
    Fedi,
    /// hosts/<host>/host.toml
    Host,
    /// hosts/<host>/deployments/<name>.toml
    Deployment,
}

pub(crate) fn run(args: &Schema, ui: Ui) -> Result<Exit, CommandError> {
    let kind = match args.file {
        File::Fedi => FileKind::Fedi,
        File::Host => FileKind::Host,
        File::Deployment => FileKind::Deployment,
    };
    let text = kind.json_schema();
    let schema: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| CommandError::failed("Failed to make the schema").because(&error))?;
    ui.report(&json!({ "json-schema": schema }), &text)?;
    Ok(Exit::Done)
}
