//! Taking an application out of service, and back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fedi_model::AppName;
use fedi_model::manifest::{App, Hook};
use fedi_state::Work;

use super::kinds::{self, Handled};
use super::{Session, lock};
use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{
    ErrorKind, Gate, GateAction, Gated, HookResult, RunHook, StatePause, StatePaused, StateResume, Unit,
};
use crate::{hook, lease, manifest, systemd};

/// Longest time that the gate may take either way, in seconds.
const GATE_S: u32 = 300;
/// How long processes and sessions may stay after the gate is shut.
const LEAVING: Duration = Duration::from_secs(20);
/// How often they are looked for.
const PAUSE: Duration = Duration::from_millis(200);
/// Users of a database that an error names.
const SHOWN: usize = 3;

/// Takes an application out of service. One that ran and cannot be taken out runs again.
pub(crate) fn pause(guest: &Guest, request: &StatePause, session: &Session) -> Result<StatePaused, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let _lock = lock(guest, &request.app, session)?;
    let ran = !stopped(guest, &app)?;
    let paused = take_out(guest, request, &app, ran, session);
    if ran && paused.is_err() {
        // The error of the pause is the one to report, unless there is worse.
        back(guest, &request.app)?;
    }
    paused
}

fn take_out(
    guest: &Guest,
    request: &StatePause,
    app: &App,
    ran: bool,
    session: &Session,
) -> Result<StatePaused, GuestError> {
    if ran {
        let hooks = [("quiesce", app.hooks.quiesce.as_ref()), ("drain", app.hooks.drain.as_ref())];
        for (name, unit) in hooks.into_iter().filter(|(name, _)| *name != "drain" || request.drain) {
            let Some(unit) = unit else { continue };
            session.say(format!("{name} {}", request.app));
            session.alive()?;
            judged(name, unit, &run(guest, unit)?)?;
        }
        session.say(format!("stopping {}", request.app));
        let stop = Gate { app: request.app.clone(), action: GateAction::Stop, timeout_s: GATE_S };
        hook::gate(guest, &stop)?;
    }
    let work = session.work(guest, app);
    let items = kinds::all(guest, &request.app, app)?;
    left(guest, &request.app, app, &items, &work)?;
    let mut queued = BTreeMap::new();
    for item in &items {
        for (prefix, entries) in item.kind.queued(&work)? {
            queued.insert(format!("{}/{prefix}", item.name), entries);
        }
    }
    let left: u64 = queued.values().sum();
    if left > 0 {
        session.notice(format!("{left} entries of queued work are left; they are part of the state"));
    }
    Ok(StatePaused { queued })
}

/// Starts a paused application again.
pub(crate) fn resume(guest: &Guest, request: &StateResume) -> Result<Gated, GuestError> {
    let start = Gate { app: request.app.clone(), action: GateAction::Start, timeout_s: GATE_S };
    hook::gate(guest, &start)
}

/// After a pause that failed: it runs, and requests are taken again.
fn back(guest: &Guest, app: &AppName) -> Result<(), GuestError> {
    if lease::require(guest, app).is_ok() {
        resume(guest, &StateResume { app: app.clone() })?;
    }
    Ok(())
}

pub(super) fn run(guest: &Guest, hook: &Hook) -> Result<HookResult, GuestError> {
    let timeout_s = crate::health::seconds(&hook.timeout).unwrap_or(900);
    hook::run(guest, &RunHook { unit: hook.unit.clone(), timeout_s })
}

pub(super) fn judged(name: &str, hook: &Hook, result: &HookResult) -> Result<(), GuestError> {
    if result.succeeded {
        return Ok(());
    }
    let last = result.journal.last().map(|line| format!(": {line}")).unwrap_or_default();
    let (kind, what) = if result.timed_out {
        (ErrorKind::Timeout, format!("did not end within {}", hook.timeout))
    } else {
        (ErrorKind::UnitFailed, "has failed".to_owned())
    };
    Err(GuestError::refused(kind, format!("`{}`, the {name} hook, {what}{last}", hook.unit))
        .with_hint("The application runs as before; look at the unit's journal on the guest"))
}

pub(super) fn stopped(guest: &Guest, app: &App) -> Result<bool, GuestError> {
    let gate = systemd::show_one(guest, &app.gate)?;
    Ok(gate.unit.active == "inactive" && running(guest, app)?.is_empty())
}

/// Units of the application that run, or whose processes are left.
fn running(guest: &Guest, app: &App) -> Result<Vec<String>, GuestError> {
    let gate = systemd::show_one(guest, &app.gate)?;
    let names = hook::units_of(&app.units, &gate.parts, &app.gate);
    let is_up = |unit: &Unit| unit.load == "loaded" && unit.active != "inactive" && unit.active != "failed";
    let mut found = Vec::new();
    for shown in systemd::show(guest, &names)? {
        let unit = shown.unit;
        let processes = guest.path("/sys/fs/cgroup/system.slice").join(&unit.name).join("cgroup.procs");
        // A unit that does not run has no such file, or one that is empty.
        let left = std::fs::read_to_string(processes).is_ok_and(|text| !text.trim().is_empty());
        if is_up(&unit) || left {
            found.push(unit.name);
        }
    }
    Ok(found)
}

/// Waits until nobody is left: a server notices the end of a client a little later.
fn left(guest: &Guest, name: &AppName, app: &App, items: &[Handled], work: &Work) -> Result<(), GuestError> {
    let end = Instant::now() + LEAVING;
    loop {
        match nobody(guest, name, app, items, work) {
            Err(error) if error.kind() == ErrorKind::Running && Instant::now() < end => {}
            result => return result,
        }
        work.check()?;
        std::thread::sleep(PAUSE);
    }
}

/// Refuses while a process of the application runs or somebody uses its databases.
pub(super) fn nobody(
    guest: &Guest,
    name: &AppName,
    app: &App,
    items: &[Handled],
    work: &Work,
) -> Result<(), GuestError> {
    let units = running(guest, app)?;
    if !units.is_empty() {
        let message = format!("`{name}` runs: `{}`", units.join("`, `"));
        return Err(GuestError::refused(ErrorKind::Running, message).with_hint("Pause it first; nothing was touched"));
    }
    for item in items {
        let users = item.kind.users(work)?;
        if !users.is_empty() {
            let some = users.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let message = format!("The {} is in use: {some}", item.what);
            return Err(GuestError::refused(ErrorKind::Running, message)
                .with_hint("End these sessions on the guest; they could write while nothing else does"));
        }
    }
    Ok(())
}
