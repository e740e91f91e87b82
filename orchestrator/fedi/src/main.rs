//! The command line: the only crate that prints, exits and names concrete drivers.

mod carry_out;
mod cli;
mod commands;
mod context;
mod error;
mod examine;
mod git;
mod new_file;
mod refuse;
mod repositories;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::{CommandError, Exit};
use crate::ui::{Ui, json_line};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let ui = Ui::new(cli.global.json, cli.global.quiet, cli.global.color);
    // What fedi writes is its user's own business.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    watch(cli.global.verbose);
    let exit = run(&cli, ui).unwrap_or_else(|error| {
        ui.fail(&error);
        error.exit
    });
    ExitCode::from(exit as u8)
}

/// Prints help, the version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let _ = json_line(&serde_json::json!({ "error": CommandError::refused(message) }));
    }
    // A closed stdout is no failure of help.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Refused as u8))
}

fn run(cli: &Cli, ui: Ui) -> Result<Exit, CommandError> {
    match &cli.command {
        Command::Completions(args) => return commands::completions::run(args, ui),
        Command::Man(args) => return commands::man::run(args, ui),
        Command::Schema(args) => return commands::schema::run(args, ui),
        Command::Reference(args) => return commands::reference::run(args),
        Command::Init(args) => return commands::init::run(args, &cli.global, ui),
        Command::Sandbox(command) => return commands::sandbox::run(command, ui),
        _ => {}
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run_with_runtime(cli, ui));
    // A question that nobody answered must not hold the process.
    runtime.shutdown_background();
    ended
}

async fn run_with_runtime(cli: &Cli, ui: Ui) -> Result<Exit, CommandError> {
    let global = &cli.global;
    match &cli.command {
        Command::Host(command) => commands::host::run(command, global, ui).await,
        Command::Doctor(args) => commands::doctor::run(args, global, ui).await,
        Command::Plan(args) => commands::plan::run(args, global, ui).await,
        Command::Deploy(args) => commands::deploy::run(args, global, ui).await,
        Command::Status(args) => commands::status::run(args, global, ui).await,
        Command::Destroy(args) => commands::destroy::run(args, global, ui).await,
        Command::Run(command) => commands::run::run(command, global, ui).await,
        Command::Backup(command) => commands::backup::run(command, global, ui).await,
        Command::Clone(args) => commands::clone::run(args, global, ui).await,
        Command::Secret(command) => commands::secret::run(command, global, ui).await,
        Command::Image(command) => commands::image::run(command, global, ui).await,
        Command::Completions(_)
        | Command::Man(_)
        | Command::Schema(_)
        | Command::Reference(_)
        | Command::Init(_)
        | Command::Sandbox(_) => Ok(Exit::Done),
    }
}

/// Logs to stderr, at `-v` what fedi does, at `-vv` every request.
fn watch(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "warn,fedi={level},proxmox_api={level},octodns_client={level},nix_compat={level}"
    ));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}
