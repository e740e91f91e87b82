//! `fedi completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::Cli;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Print the completion script for a shell
///
/// bash: `fedi completions bash > /etc/bash_completion.d/fedi`; zsh: into a file `_fedi`
/// in a folder of `$fpath`; fish: `fedi completions fish > ~/.config/fish/completions/fedi.fish`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &Completions, ui: Ui) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fedi", &mut script);
    let script = String::from_utf8_lossy(&script);
    ui.report(&json!({ "shell": args.shell.to_string(), "script": script }), &script)?;
    Ok(Exit::Done)
}
