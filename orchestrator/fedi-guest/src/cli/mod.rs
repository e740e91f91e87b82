//! The command line of the agent. Written by hand: the program is copied to
//! every guest and stays small.

mod args;
mod print;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use fedi_guest::agent::BackupOutcome;
use fedi_guest::protocol::{ErrorKind, Event, Gate, GateAction, Gated, Health, Op};
use fedi_guest::{Cancel, Guest, GuestError, agent, serve};

use serde_json::Value;

use args::{Action, HELP, Invocation};

/// Exit codes; see `--help`.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNHEALTHY: u8 = 6;

/// Runs one command to its end.
pub(crate) fn run(arguments: Vec<String>) -> ExitCode {
    let invocation = match args::parse(arguments) {
        Ok(invocation) => invocation,
        Err(message) => {
            eprintln!("error: {message}\n\nhint: Run `fedi-guest --help` for the commands");
            return ExitCode::from(USAGE);
        }
    };
    match perform(&invocation) {
        Ok(code) => code,
        Err(error) => {
            report(&error, invocation.json);
            let usage = matches!(error.kind(), ErrorKind::Invalid);
            ExitCode::from(if usage { USAGE } else { FAILED })
        }
    }
}

fn perform(invocation: &Invocation) -> Result<ExitCode, GuestError> {
    let guest = Guest::this_machine();
    match &invocation.action {
        Action::Help => show(HELP),
        Action::Version => show(&format!("fedi-guest {}\n", env!("CARGO_PKG_VERSION"))),
        Action::Serve => {
            let (input, output) = (io::stdin(), io::stdout());
            if input.is_terminal() {
                eprintln!("Speaking the fedi protocol on standard input and output; end with Ctrl-D");
            }
            // A failed read is the end of the session like any other.
            let _ = serve(&guest, io::BufReader::new(input), &mut output.lock());
        }
        Action::Supervise(token) => drop(agent::supervise(&guest, *token)?),
        Action::Boot => match agent::activate_at_boot(&guest)? {
            Some(system) => eprintln!("Activated {}", system.display()),
            None => eprintln!("Nothing to activate"),
        },
        Action::BackUp(app) => match agent::back_up(&guest, app, &Cancel::default(), &mut tell)? {
            BackupOutcome::Dormant => eprintln!("The lease of {app} is not held here: there is nothing to back up"),
            BackupOutcome::Stored { snapshot } => show(&format!("{snapshot}\n")),
        },
        Action::AfterBackup(app) => agent::after_backup(&guest, app)?,
        Action::LeaseCheck(app) => agent::require_lease(&guest, app)?,
        Action::Digest(folder) => {
            let digest = fedi_guest::tree::digest(folder).map_err(|error| args::unreadable(folder, &error))?;
            show(&format!("{digest}\n"));
        }
        Action::Operation(op) => {
            let answer = agent::perform(&guest, op.clone(), &mut tell)?;
            if invocation.json {
                show(&format!("{}\n", serde_json::json!({ "schema": 1, "result": answer })));
            } else {
                show(&print::text(op, &answer));
            }
            if let Op::Gate(gate) = op
                && !gate_did(gate, answer.clone(), invocation.json)
            {
                return Ok(ExitCode::from(FAILED));
            }
            let unhealthy = serde_json::from_value::<Health>(answer).is_ok_and(|health| !health.healthy);
            if unhealthy {
                return Ok(ExitCode::from(UNHEALTHY));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether all is as the gate's action should have left it; says on stderr what is not.
fn gate_did(gate: &Gate, answer: Value, json: bool) -> bool {
    let troubles = serde_json::from_value::<Gated>(answer).map(|gated| gated.troubles(gate.action)).unwrap_or_default();
    if troubles.is_empty() {
        return true;
    }
    if !json {
        let (verb, app) = (if gate.action == GateAction::Start { "start" } else { "stop" }, &gate.app);
        eprintln!("error: Failed to {verb} `{app}`");
        for trouble in troubles {
            eprintln!("  Caused by: {trouble}");
        }
        eprintln!("\nhint: `journalctl -u fedi-{app}-lease.service` says why the lease was refused, where it was");
    }
    false
}

/// What happens meanwhile, for people. How far it is goes to sessions only.
fn tell(event: Event) {
    match event {
        Event::Output { line } => eprintln!("  {line}"),
        Event::Notice { message } => eprintln!("note: {message}"),
        Event::Phase { .. } | Event::Progress { .. } | Event::Other => {}
    }
}

fn show(text: &str) {
    // A reader that went away (`| head`) is no failure.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn report(error: &GuestError, json: bool) {
    let reply = error.reply();
    if json {
        show(&format!("{}\n", serde_json::json!({ "schema": 1, "error": reply })));
        return;
    }
    eprintln!("error: {}", reply.message);
    for cause in &reply.causes {
        eprintln!("  Caused by: {cause}");
    }
    if let Some(hint) = &reply.hint {
        eprintln!("\nhint: {hint}");
    }
}
