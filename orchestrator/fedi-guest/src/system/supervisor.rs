//! The supervisor: carries an activation out and brings the earlier system back
//! unless it is confirmed. Runs as `fedi-guest supervise <token>` in a unit of
//! its own; everything it needs to go on after being killed is in the record.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use uuid::Uuid;

use super::activation::{Record, Step, Store, tail};
use super::follow::Watch;
use super::operations::{NIX_ROOT, limit};
use super::profile::Profile;
use super::{CURRENT, FEDI_PROFILES, SWITCH, running};
use crate::command;
use crate::error::{GuestError, reason_text};
use crate::file;
use crate::guest::{Guest, since_boot_ms};
use crate::protocol::{Phase, Reason};
use crate::{secrets, systemd};

/// Tells the journal. A journal that is being restarted is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// Lines of output that a failure carries.
const TAIL: usize = 25;

/// Carries the activation on from wherever it is, to its end.
pub(crate) fn supervise(guest: &Guest, token: Uuid) -> Result<Phase, GuestError> {
    let store = Store::of(guest);
    loop {
        let record = store.get(token)?;
        match &record.activation.phase {
            Phase::Starting => {
                let record = store.step(token, |_| Step::Switch)?;
                let step = switch(guest, &store, &record);
                store.step(token, |_| step)?;
            }
            // Another supervisor began this and did not come to its end.
            Phase::Switching => {
                store.step(token, |_| Step::Fail(Reason::SupervisorDied))?;
            }
            Phase::Waiting { deadline_ms } => wait(&store, &record, *deadline_ms)?,
            Phase::Committing => {
                let step = commit(guest, &store, &record);
                store.step(token, |_| step)?;
            }
            Phase::RollingBack { reason } => {
                say!("Rolling back to the earlier system: {}", reason_text(reason));
                let step = restore(guest, &store, &record);
                store.step(token, |_| step)?;
            }
            done @ (Phase::Confirmed { .. } | Phase::RolledBack { .. } | Phase::RollbackFailed { .. }) => {
                file::remove(&guest.path(NIX_ROOT))?;
                return Ok(done.clone());
            }
        }
    }
}

fn switch(guest: &Guest, store: &Store, record: &Record) -> Step {
    let system = &record.activation.system;
    say!("Activating {}", system.display());
    match run_switch(guest, store, record, system, "test") {
        Ok(status) if status.success() => match make_current(guest, system) {
            Ok(()) => {
                settle_secrets(guest);
                let waits = u64::from(record.confirm_within_s) * 1000;
                Step::Switched { deadline_ms: since_boot_ms() + waits }
            }
            Err(error) => failed(store, error.to_string()),
        },
        Ok(status) => failed(store, command::status_text(status)),
        Err(GuestError::Timeout { seconds, .. }) => Step::Fail(Reason::ActivationTimeout { seconds }),
        Err(error) => failed(store, full_text(&error)),
    }
}

/// The system may have made the users that delivered secrets have waited for. What
/// cannot be settled stops the application at its gate, not the system.
fn settle_secrets(guest: &Guest) {
    for error in secrets::settle_all(guest) {
        say!("{error}");
    }
}

fn failed(store: &Store, status: String) -> Step {
    Step::Fail(Reason::ActivationFailed { status, output: tail(&store.output(), TAIL) })
}

/// Waits for a confirmation; at the deadline the record decides who was first.
fn wait(store: &Store, record: &Record, deadline_ms: u64) -> Result<(), GuestError> {
    let token = record.activation.token;
    let watch = Watch::on(store.folder())?;
    say!("Active; waiting {} s for a confirmation", record.confirm_within_s);
    while matches!(store.get(token)?.activation.phase, Phase::Waiting { .. }) {
        let now_ms = since_boot_ms();
        if now_ms >= deadline_ms {
            let seconds = record.confirm_within_s;
            // A refusal means that the confirmation came first.
            match store.step(token, |_| Step::Expire { now_ms, seconds }) {
                Ok(_) | Err(GuestError::Refused { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        watch.wait(Duration::from_millis(deadline_ms - now_ms))?;
    }
    Ok(())
}

/// Makes the active system the one that boots.
fn commit(guest: &Guest, store: &Store, record: &Record) -> Step {
    match try_commit(guest, store, record) {
        Ok(generation) => {
            say!("Confirmed as generation {generation}");
            Step::Committed { generation }
        }
        Err(error) => {
            let mut error = full_text(&error);
            if let Err(second) = put_profile_back(guest, record) {
                error = format!("{error}; the profile could not be put back: {}", full_text(&second));
            }
            Step::Fail(Reason::CommitFailed { error })
        }
    }
}

fn try_commit(guest: &Guest, store: &Store, record: &Record) -> Result<u64, GuestError> {
    let profile = Profile::at(&record.profile)?;
    let generation = match record.to_generation {
        Some(generation) => {
            profile.switch(guest, generation)?;
            generation
        }
        None => profile.set(guest, &record.activation.system)?,
    };
    let status = run_switch(guest, store, record, &record.activation.system, "boot")?;
    if status.success() {
        return Ok(generation);
    }
    Err(GuestError::Tool {
        program: format!("{SWITCH} boot"),
        status: command::status_text(status),
        output: tail(&store.output(), 1).pop().unwrap_or_default(),
    })
}

fn put_profile_back(guest: &Guest, record: &Record) -> Result<(), GuestError> {
    let profile = Profile::at(&record.profile)?;
    let now = profile.current(guest)?.map(|current| current.0);
    match record.generation_before {
        Some(before) if now != Some(before) => profile.switch(guest, before),
        None if now.is_some() => file::remove(&guest.path(record.profile.join("system"))),
        _ => Ok(()),
    }
}

/// Brings the earlier system back.
fn restore(guest: &Guest, store: &Store, record: &Record) -> Step {
    let Some(previous) = &record.activation.previous else {
        // The first system of a guest: there is nothing to go back to.
        return match file::remove(&guest.path(CURRENT)) {
            Ok(()) => Step::Restored,
            Err(error) => Step::RestoreFailed { error: full_text(&error) },
        };
    };
    let done = run_switch(guest, store, record, previous, "test").and_then(|status| {
        if status.success() {
            return make_current(guest, previous);
        }
        Err(GuestError::Tool {
            program: previous.join(SWITCH).display().to_string(),
            status: command::status_text(status),
            output: tail(&store.output(), 1).pop().unwrap_or_default(),
        })
    });
    match done {
        Ok(()) => Step::Restored,
        Err(error) => Step::RestoreFailed { error: full_text(&error) },
    }
}

fn full_text(error: &GuestError) -> String {
    error.reply().to_string()
}

fn run_switch(
    guest: &Guest,
    store: &Store,
    record: &Record,
    system: &Path,
    action: &str,
) -> Result<ExitStatus, GuestError> {
    // What cannot be forgotten the switch itself will tell.
    if action == "test"
        && let Err(error) = systemd::forget_past_runs(guest)
    {
        say!("{error}");
    }
    let path = store.output();
    // A file, not a pipe: a service that inherits it may keep it open for good.
    let open = || OpenOptions::new().append(true).open(&path).map_err(GuestError::file("open", &path));
    let mut command = guest.command(guest.path(system).join(SWITCH));
    command.arg(action).env("HOME", "/root").env("NIXOS_INSTALL_BOOTLOADER", "0");
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    let mut child = command::start(command)?;
    command::wait(&mut child, &format!("{SWITCH} {action}"), limit(record))
}

/// NixOS's own activation does this; a prebuilt system may leave it to us.
pub(super) fn make_current(guest: &Guest, system: &Path) -> Result<(), GuestError> {
    if running(guest)?.as_deref() == Some(system) {
        return Ok(());
    }
    file::replace_link(system, &guest.path(CURRENT))
}

/// Activates the permanent prebuilt system if it is not active: what a unit does
/// at boot, where NixOS does it before systemd begins. Returns the system.
pub(crate) fn activate_at_boot(guest: &Guest) -> Result<Option<std::path::PathBuf>, GuestError> {
    let profile = Profile::at(Path::new(FEDI_PROFILES))?;
    let Some((_, system)) = profile.current(guest)? else { return Ok(None) };
    if running(guest)?.as_deref() == Some(system.as_path()) {
        return Ok(None);
    }
    super::check(guest, &system)?;
    let mut command = guest.command(guest.path(&system).join(SWITCH));
    command.arg("test").env("HOME", "/root").stdin(Stdio::null());
    let mut child = command::start(command)?;
    let status = command::wait(&mut child, SWITCH, Duration::from_secs(600))?;
    if !status.success() {
        return Err(GuestError::Tool {
            program: system.join(SWITCH).display().to_string(),
            status: command::status_text(status),
            output: String::new(),
        });
    }
    make_current(guest, &system)?;
    settle_secrets(guest);
    Ok(Some(system))
}
