//! The command line as a tree of types; doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::ui::Color;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; what had been done is taken back, or nothing had been done
  2    wrong usage or configuration, or a condition that does not hold; nothing was done
  3    `fedi plan --check` found changes
  4    stopped part-way; `fedi run resume` goes on
  5    another fedi is at work
  6    applied, but not healthy
  130  interrupted before anything was done";

/// Your fediverse servers, from a bare hypervisor to a healthy site, and free to move.
///
/// fedi reads an inventory: a folder with `fedi.toml` and `hosts/`. Every change is
/// planned, shown, confirmed and journaled; a run that stops at any moment is taken
/// up again with `fedi run resume`.
#[derive(Debug, Parser)]
#[command(name = "fedi", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The inventory's folder, or one in it; without it, the current one
    #[arg(short = 'C', long, global = true, value_name = "FOLDER", env = "FEDI_INVENTORY", hide_env_values = true)]
    pub(crate) inventory: Option<PathBuf>,
    /// Print JSON for programs, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log what is done underneath; twice for every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(commands::init::Init),
    #[command(subcommand)]
    Host(commands::host::Host),
    Doctor(commands::doctor::Doctor),
    Plan(commands::plan::Plan),
    Deploy(commands::deploy::Deploy),
    Status(commands::status::Status),
    Destroy(commands::destroy::Destroy),
    #[command(subcommand)]
    Backup(commands::backup::Backup),
    Clone(commands::clone::Clone),
    #[command(subcommand)]
    Run(commands::run::Run),
    #[command(subcommand)]
    Secret(commands::secret::Secrets),
    #[command(subcommand)]
    Image(commands::image::Image),
    #[command(subcommand)]
    Sandbox(commands::sandbox::Sandbox),
    Schema(commands::schema::Schema),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
    #[command(hide = true)]
    Reference(commands::reference::Reference),
}
