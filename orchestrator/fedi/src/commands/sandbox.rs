//! `fedi sandbox`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fedi_sandbox::{DEFAULT_NAME, Event, SandboxError, SandboxOptions, Status};

use crate::error::{CommandError, Exit};
use crate::ui::Ui;

/// A data centre in one network namespace, to try fedi and to test it
///
/// Two simulated Proxmox VE hosts with real systemd guests, a real PowerDNS and a real
/// ACME certificate authority, all without a route out. Needs root and Debian 12.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Sandbox {
    /// Bring it up, or what is missing of it
    Up(Name),
    /// Take it down with everything in it
    Down(Name),
    /// Say what is there and what answers
    Status(Name),
    /// Run a command inside it
    Run(RunInside),
    /// Serve one simulated host; `up` starts this
    #[command(hide = true)]
    Host {
        /// The host's settings
        settings: PathBuf,
    },
}

/// Which sandbox.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Its name; several run side by side
    #[arg(long, default_value = DEFAULT_NAME, env = "FEDI_SANDBOX")]
    name: String,
}

/// Options of `sandbox run`.
#[derive(Debug, Args)]
pub(crate) struct RunInside {
    #[command(flatten)]
    name: Name,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(command: &Sandbox, ui: Ui) -> Result<Exit, CommandError> {
    // Roots of guests are made here, which their own users must be able to enter. What is
    // private in a sandbox says so itself.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let report = |event: Event| {
        if let Event::Finished { .. } = event {
            ui.say(&event.to_string());
        }
    };
    match command {
        Sandbox::Up(name) => {
            let sandbox = open(name)?;
            sandbox.up(&report)?;
            status(ui, &sandbox.status())?;
            ui.say("Run commands in it with `fedi sandbox run <command>`");
        }
        Sandbox::Down(name) => open(name)?.down(&report)?,
        Sandbox::Status(name) => {
            let found = open(name)?.status();
            status(ui, &found)?;
            return Ok(if found.up { Exit::Done } else { Exit::Failed });
        }
        Sandbox::Run(args) => {
            let [program, arguments @ ..] = args.command.as_slice() else { return Ok(Exit::Refused) };
            // In this process' place, so that Ctrl-C and the exit code are the command's own.
            let error = open(&args.name)?.command(program)?.args(arguments).exec();
            return Err(CommandError::failed(format!("Failed to run `{}`", program.to_string_lossy())).because(&error));
        }
        Sandbox::Host { settings } => fedi_sandbox::host::serve(settings)?,
    }
    Ok(Exit::Done)
}

fn open(name: &Name) -> Result<fedi_sandbox::Sandbox, CommandError> {
    let host = vec![std::env::current_exe()?.into_os_string(), "sandbox".into(), "host".into()];
    Ok(fedi_sandbox::Sandbox::new(SandboxOptions::new(&name.name, host)?)?)
}

fn status(ui: Ui, status: &Status) -> Result<(), CommandError> {
    let mut text = String::new();
    if status.absent {
        let _ = writeln!(text, "The sandbox `{}` is not up", status.name);
    } else {
        for part in &status.parts {
            let word = match (part.running, part.answering) {
                (true, true) => "up    ",
                (true, false) => "silent",
                _ => "down  ",
            };
            let _ = writeln!(text, "{word}  {}: {}", part.title, part.address);
        }
        for guest in &status.guests {
            let word = if guest.running { "up    " } else { "down  " };
            let _ = writeln!(text, "{word}  guest {} on {}: {}", guest.name, guest.host, guest.addresses.join(", "));
        }
    }
    ui.report(status, &text)
}

impl From<SandboxError> for CommandError {
    fn from(error: SandboxError) -> Self {
        let hint = error.hint();
        let mut made = CommandError::refused(error.to_string());
        if let Some(source) = std::error::Error::source(&error) {
            made = made.because(source);
        }
        made.hint = hint;
        made
    }
}
