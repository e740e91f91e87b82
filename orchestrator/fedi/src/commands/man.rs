//! `fedi man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Write the man pages into a folder
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder; it is made if it does not exist
    folder: PathBuf,
}

pub(crate) fn run(args: &Man, ui: Ui) -> Result<Exit, CommandError> {
    std::fs::create_dir_all(&args.folder)?;
    clap_mangen::generate_to(Cli::command(), &args.folder)?;
    ui.say(&format!("Wrote the man pages to {}", args.folder.display()));
    Ok(Exit::Done)
}
