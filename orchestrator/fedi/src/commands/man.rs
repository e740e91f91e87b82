//! `fedi man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use serde_json::json;

use crate::cli::Cli;
use crate::error::{CommandError, Exit};
use crate::ui::{Ui, json_line};

/// Write the man pages into a folder
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder; it is made if it does not exist
    folder: PathBuf,
}

pub(crate) fn run(args: &Man, ui: Ui) -> Result<Exit, CommandError> {
    let failed = |error: &std::io::Error| {
        CommandError::failed(format!("Failed to write man pages into `{}`", args.folder.display())).because(error)
    };
    std::fs::create_dir_all(&args.folder).map_err(|error| failed(&error))?;
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(|error| failed(&error))?;
    if ui.json {
        json_line(&json!({ "folder": args.folder }))?;
    }
    ui.say(&format!("Wrote the man pages into `{}`", args.folder.display()));
    Ok(Exit::Done)
}
