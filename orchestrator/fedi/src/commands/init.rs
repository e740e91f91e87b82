//! `fedi init`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use fedi_inventory::{Environment, InitOptions};

use crate::cli::Global;
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// Make an inventory: fedi.toml, hosts/, flake.nix, an SSH key and an age key
///
/// What exists already is left as it is; a second run goes on where a first one stopped.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder; without it, the current one
    folder: Option<PathBuf>,
    /// A short name for the inventory; without it, the folder's
    #[arg(long)]
    name: Option<String>,
    /// Your mail address, for certificate authorities
    #[arg(long)]
    email: Option<String>,
    /// The flake that fedi's NixOS modules come from, for flake.nix: the repository that you
    /// have fedi from, such as `git+file:///home/you/fedi`
    #[arg(long, value_name = "URL")]
    flake_url: Option<String>,
}

pub(crate) fn run(args: &Init, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let folder = match args.folder.as_ref().or(global.inventory.as_ref()) {
        Some(folder) => folder.clone(),
        None => std::env::current_dir()?,
    };
    let options = InitOptions {
        name: args.name.clone(),
        email: args.email.clone(),
        flake_url: args.flake_url.clone(),
        more: Vec::new(),
    };
    let report = fedi_inventory::init(&folder, &options, &Environment::of_process())?;
    let mut text = String::new();
    for path in &report.made {
        let _ = writeln!(text, "made  {}", path.display());
    }
    for path in &report.kept {
        let _ = writeln!(text, "kept  {}", path.display());
    }
    ui.report(&report, &text)?;
    if report.age_recipient.is_some() {
        ui.say("\nKeep a copy of the age key somewhere else: without it, no secret can be read again");
    }
    let here = std::env::current_dir().is_ok_and(|here| std::path::absolute(&folder).is_ok_and(|it| it == here));
    let change = if here { String::new() } else { format!("`cd {}`, then ", folder.display()) };
    ui.say(&format!("\nNext: {change}describe a host with `fedi host add` (`fedi host add --help` has an example)"));
    Ok(Exit::Done)
}
