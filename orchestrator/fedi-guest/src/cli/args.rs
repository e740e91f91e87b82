//! Reading the command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use fedi_guest::GuestError;
use fedi_guest::protocol::{
    Activate, ActivationShow, BackupStatusRequest, Cancel, Confirm, ErrorKind, FactsRequest, Gate, GateAction,
    GenerationsRequest, HealthRequest, LeaseGrant, LeaseRevoke, LeaseShow, Op, Prune, Rollback, RunHook, SealSystem,
    SecretsSettle, StageSystem, StatePause, StatePlaces, StateResume, UnitsRequest,
};
use fedi_guest::tree::TreeError;
use fedi_model::AppName;
use uuid::Uuid;

pub(super) const HELP: &str = "\
The agent of fedi on a guest

Usage: fedi-guest [--json] <command>

Looking:
  facts [--profile DIR]           What is true of this guest
  health [APP] [--probe]          Whether it and its applications are well
  units UNIT...                   The states of units
  lease show [APP]                The leases
  lease check|require APP         Ends with 0 only if the lease is held here
                                  (for ExecCondition= of a unit)
  generations [--profile DIR]     The generations of the system profile
  activation [TOKEN]              The last activation since boot
  state places APP                What is in the places of an application's state
  backup status APP               What this guest's own backups have done

Changing:
  lease grant APP --epoch N --holder UUID
  lease revoke APP --epoch N
  gate start|stop APP [--timeout S]
  run UNIT [--timeout S]          Start a oneshot service and wait for its end
  state pause APP [--drain]       Take an application out of service
  state resume APP                Start it again
  secrets settle APP              Give secrets to owners that came after them
  activate SYSTEM [--profile DIR] [--token UUID] [--confirm-within S] [--timeout S]
                                  Activate a system; it is rolled back unless confirmed
  confirm TOKEN                   Make an activated system permanent
  cancel TOKEN                    Roll an activated system back now
  rollback [--generation N] [--profile DIR] [--token UUID] [--confirm-within S] [--timeout S]
                                  Activate an earlier generation in the same way
  stage DIGEST, seal DIGEST       Before and after copying a prebuilt system
  prune [--keep N] [--profile DIR]

For machines:
  serve                           The protocol, on standard input and output
  backup run APP                  Make a backup as it is configured (by a timer's service)
  backup resume APP               Start what a backup paused and was killed over
  boot                            Activate the permanent prebuilt system, at boot
  supervise TOKEN                 Carry an activation out (in a unit of its own)
  digest FOLDER                   The digest that a prebuilt system is named by

Options:
  --json       Print the answer as JSON: {\"schema\":1,\"result\":...} or {\"schema\":1,\"error\":...}
  --help, --version

Exit status: 0 done, 1 failed or lease not held, 2 wrong usage, 6 not healthy
";

/// A command line, read.
#[derive(Debug)]
pub(super) struct Invocation {
    pub json: bool,
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(super) enum Action {
    Help,
    Version,
    Serve,
    Boot,
    Supervise(Uuid),
    LeaseCheck(AppName),
    BackUp(AppName),
    AfterBackup(AppName),
    Digest(PathBuf),
    Operation(Op),
}

/// The words after the command; options can stand anywhere among them.
struct Words {
    plain: std::vec::IntoIter<String>,
    options: Vec<(String, String)>,
    flags: Vec<String>,
}

const FLAGS: [&str; 2] = ["--probe", "--drain"];

pub(super) fn parse(arguments: Vec<String>) -> Result<Invocation, String> {
    let mut json = false;
    let mut plain = Vec::new();
    let mut words = Words { plain: Vec::new().into_iter(), options: Vec::new(), flags: Vec::new() };
    let mut rest = arguments.into_iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--json" => json = true,
            "--help" | "-h" | "help" => return Ok(Invocation { json, action: Action::Help }),
            "--version" | "-V" => return Ok(Invocation { json, action: Action::Version }),
            "--" => plain.extend(rest.by_ref()),
            flag if FLAGS.contains(&flag) => words.flags.push(word),
            option if option.starts_with("--") => {
                let (name, value) = match option.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (option.to_owned(), rest.next()),
                };
                let value = value.ok_or_else(|| format!("`{name}` needs a value"))?;
                words.options.push((name, value));
            }
            _ => plain.push(word),
        }
    }
    words.plain = plain.into_iter();
    let Some(command) = words.plain.next() else { return Err("No command was given".to_owned()) };
    let action = action(&command, &mut words)?;
    words.end()?;
    Ok(Invocation { json, action })
}

fn action(command: &str, words: &mut Words) -> Result<Action, String> {
    let op: Op = match command {
        "serve" => return Ok(Action::Serve),
        "boot" => return Ok(Action::Boot),
        "supervise" => return Ok(Action::Supervise(words.next("a token")?)),
        "digest" => return Ok(Action::Digest(words.next("a folder")?)),
        "facts" => FactsRequest { profile: words.option("--profile")? }.into(),
        "health" => HealthRequest { app: words.optional("an application")?, probe: words.flag("--probe") }.into(),
        "units" => UnitsRequest { units: words.plain.by_ref().collect() }.into(),
        "lease" => return lease(words),
        "state" => return state(words),
        "backup" => return backup(words),
        "generations" => GenerationsRequest { profile: words.option("--profile")? }.into(),
        "activation" => ActivationShow { token: words.optional("a token")? }.into(),
        "gate" => {
            let action = match words.next::<String>("`start` or `stop`")?.as_str() {
                "start" => GateAction::Start,
                "stop" => GateAction::Stop,
                other => return Err(format!("A gate can `start` or `stop`, not `{other}`")),
            };
            Gate { action, app: words.next("an application")?, timeout_s: words.option("--timeout")?.unwrap_or(300) }
                .into()
        }
        "run" => RunHook { unit: words.next("a unit")?, timeout_s: words.option("--timeout")?.unwrap_or(900) }.into(),
        "secrets" => match words.next::<String>("`settle`")?.as_str() {
            "settle" => SecretsSettle { app: words.next("an application")? }.into(),
            other => return Err(format!("There is no command `secrets {other}`")),
        },
        "activate" => Activate {
            system: words.next("a system's path")?,
            token: words.token()?,
            profile: words.profile()?,
            confirm_within_s: words.option("--confirm-within")?.unwrap_or(60),
            timeout_s: words.option("--timeout")?.unwrap_or(600),
        }
        .into(),
        "rollback" => Rollback {
            token: words.token()?,
            profile: words.profile()?,
            generation: words.option("--generation")?,
            confirm_within_s: words.option("--confirm-within")?.unwrap_or(60),
            timeout_s: words.option("--timeout")?.unwrap_or(600),
        }
        .into(),
        "confirm" => Confirm { token: words.next("a token")? }.into(),
        "cancel" => Cancel { token: words.next("a token")? }.into(),
        "stage" => StageSystem { digest: words.next("a digest")? }.into(),
        "seal" => SealSystem { digest: words.next("a digest")? }.into(),
        "prune" => Prune { profile: words.profile()?, keep: words.option("--keep")?.unwrap_or(5) }.into(),
        other => return Err(format!("There is no command `{other}`")),
    };
    Ok(Action::Operation(op))
}

fn lease(words: &mut Words) -> Result<Action, String> {
    let op: Op = match words.next::<String>("`show`, `check`, `grant` or `revoke`")?.as_str() {
        "check" | "require" => return Ok(Action::LeaseCheck(words.next("an application")?)),
        "show" => LeaseShow { app: words.optional("an application")? }.into(),
        "grant" => LeaseGrant {
            app: words.next("an application")?,
            epoch: words.needed("--epoch")?,
            holder: words.needed("--holder")?,
        }
        .into(),
        "revoke" => LeaseRevoke { app: words.next("an application")?, epoch: words.needed("--epoch")? }.into(),
        other => return Err(format!("There is no command `lease {other}`")),
    };
    Ok(Action::Operation(op))
}

fn state(words: &mut Words) -> Result<Action, String> {
    let op: Op = match words.next::<String>("`places`, `pause` or `resume`")?.as_str() {
        "places" => StatePlaces { app: words.next("an application")? }.into(),
        "pause" => StatePause { app: words.next("an application")?, drain: words.flag("--drain") }.into(),
        "resume" => StateResume { app: words.next("an application")? }.into(),
        other => return Err(format!("There is no command `state {other}`")),
    };
    Ok(Action::Operation(op))
}

fn backup(words: &mut Words) -> Result<Action, String> {
    match words.next::<String>("`status`, `run` or `resume`")?.as_str() {
        "status" => Ok(Action::Operation(BackupStatusRequest { app: words.next("an application")? }.into())),
        "run" => Ok(Action::BackUp(words.next("an application")?)),
        "resume" => Ok(Action::AfterBackup(words.next("an application")?)),
        other => Err(format!("There is no command `backup {other}`")),
    }
}

impl Words {
    fn optional<T: FromStr>(&mut self, what: &str) -> Result<Option<T>, String> {
        let Some(word) = self.plain.next() else { return Ok(None) };
        word.parse().map(Some).map_err(|_| format!("`{word}` is not {what}"))
    }

    fn next<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        self.optional(what)?.ok_or_else(|| format!("The command needs {what}"))
    }

    fn option<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(at) = self.options.iter().position(|(option, _)| option == name) else { return Ok(None) };
        let (_, value) = self.options.remove(at);
        value.parse().map(Some).map_err(|_| format!("`{value}` is no value for `{name}`"))
    }

    fn needed<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.option(name)?.ok_or_else(|| format!("The command needs `{name}`"))
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|flag| flag != name);
        self.flags.len() < before
    }

    fn token(&mut self) -> Result<Uuid, String> {
        Ok(self.option("--token")?.unwrap_or_else(random_token))
    }

    fn profile(&mut self) -> Result<PathBuf, String> {
        let nix = Path::new("/nix/var/nix/profiles");
        let default = if nix.join("system").exists() { nix } else { Path::new("/var/lib/fedi/system-profiles") };
        Ok(self.option("--profile")?.unwrap_or_else(|| default.to_owned()))
    }

    fn end(&mut self) -> Result<(), String> {
        let extra = self.plain.next();
        let option = self.options.first().map(|(name, _)| name.clone());
        match extra.or(option).or_else(|| self.flags.first().cloned()) {
            Some(word) => Err(format!("`{word}` does not belong to this command")),
            None => Ok(()),
        }
    }
}

fn random_token() -> Uuid {
    Uuid::new_v4()
}

/// A folder without a digest, as the agent reports errors.
pub(super) fn unreadable(folder: &Path, error: &TreeError) -> GuestError {
    GuestError::Refused {
        kind: ErrorKind::Invalid,
        message: format!("`{}` has no digest: {error}", folder.display()),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, String> {
        parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_anywhere() {
        let invocation = read("health --json matrix --probe").unwrap();
        assert!(invocation.json);
        let Action::Operation(Op::Health(request)) = invocation.action else { panic!("another action") };
        assert_eq!((request.app, request.probe), (Some(AppName::new("matrix").unwrap()), true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("", "No command"),
            ("explode", "`explode`"),
            ("lease check", "an application"),
            ("lease check Matrix", "`Matrix`"),
            ("lease grant matrix --epoch x --holder y", "`x`"),
            ("facts more", "`more`"),
            ("facts --keep 3", "`--keep`"),
            ("confirm", "a token"),
            ("run --timeout", "`--timeout`"),
        ] {
            let message = read(line).unwrap_err();
            assert!(message.contains(word), "{line}: {message}");
        }
    }
}
