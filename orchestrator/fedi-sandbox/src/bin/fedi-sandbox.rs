//! The sandbox without the rest of fedi: `fedi-sandbox up|down|status|run [--name NAME]`, and `host SETTINGS`,
//! which serves one simulated host and is started by `up`.

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use fedi_sandbox::{DEFAULT_NAME, Event, Sandbox, SandboxError, SandboxOptions, host};

const USAGE: &str = "usage: fedi-sandbox [--name NAME] up|down|status|run COMMAND...";

fn main() -> ExitCode {
    match act(env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}\n  Caused by: {error}");
                cause = error.source();
            }
            if let Some(hint) = error.downcast_ref::<SandboxError>().and_then(SandboxError::hint) {
                text = format!("{text}\n\nhint: {hint}");
            }
            say(&text);
            ExitCode::FAILURE
        }
    }
}

fn act(mut args: Vec<OsString>) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut name = DEFAULT_NAME.to_owned();
    if args.len() > 1 && args[0] == "--name" {
        name = args.remove(1).to_string_lossy().into_owned();
        args.remove(0);
    }
    let verb = args.first().map(|verb| verb.to_string_lossy().into_owned());
    if verb.as_deref() == Some("host") && args.len() == 2 {
        host::serve(Path::new(&args[1]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let host_command = vec![env::current_exe()?.into_os_string(), "host".into()];
    let sandbox = Sandbox::new(SandboxOptions::new(&name, host_command)?)?;
    let report = |event: Event| {
        if let Event::Finished { .. } = event {
            say(&event.to_string());
        }
    };
    match verb.as_deref() {
        Some("up") if args.len() == 1 => sandbox.up(&report)?,
        Some("down") if args.len() == 1 => sandbox.down(&report)?,
        Some("status") if args.len() == 1 => {
            let status = sandbox.status();
            let text = serde_json::to_string_pretty(&status)?;
            writeln!(std::io::stdout(), "{text}")?;
            return Ok(if status.up { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Some("run") if args.len() > 1 => {
            let status = sandbox.run(&args[1..])?;
            return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)));
        }
        _ => {
            say(USAGE);
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Talk goes to standard error; one that is closed is not our concern.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
