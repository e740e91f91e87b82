//! Units that the orchestrator starts and waits for: hooks and gates.

use std::time::Duration;

use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, Gate, GateAction, Gated, HookResult, RunHook, Unit};
use crate::{file, lease, manifest, secrets, systemd};

/// Lines of the journal that a result carries.
const LINES: usize = 40;

/// While this is there nginx answers 503: a drain is going on (`modules/contracts/web.nix`).
const MAINTENANCE: &str = "/run/fedi/maintenance";

/// Starts a oneshot service and waits for its end. One that is starting already
/// (an earlier session was cut off) is joined, not started twice.
pub(crate) fn run(guest: &Guest, request: &RunHook) -> Result<HookResult, GuestError> {
    let RunHook { unit, timeout_s } = request;
    systemd::check_name(unit)?;
    if !unit.ends_with(".service") {
        let message = format!("A hook is a service; `{unit}` is none");
        return Err(GuestError::refused(ErrorKind::Invalid, message));
    }
    let before = systemd::show_one(guest, unit)?.unit;
    let begun = systemd::Moment::now();
    let verb = match before.active.as_str() {
        // A service with RemainAfterExit= that ran before.
        "active" => "restart",
        "failed" => {
            systemd::job(guest, "reset-failed", unit, crate::command::SHORT)?;
            "start"
        }
        _ => "start",
    };
    let limit = Duration::from_secs(u64::from(*timeout_s));
    let (succeeded, timed_out) = match systemd::job(guest, verb, unit, limit) {
        Ok(succeeded) => (succeeded, false),
        Err(GuestError::Timeout { .. }) => {
            systemd::job(guest, "stop", unit, Duration::from_secs(120))?;
            (false, true)
        }
        Err(error) => return Err(error),
    };
    let unit_after = systemd::show_one(guest, unit)?.unit;
    let journal = systemd::journal_since(guest, unit, begun, LINES)?;
    Ok(HookResult { succeeded, timed_out, unit: unit_after, journal })
}

/// Starts or stops an application's gate. Started, it takes requests again: a drain that
/// is undone leaves the gate open, so that starting it starts nothing that could.
pub(crate) fn gate(guest: &Guest, request: &Gate) -> Result<Gated, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let verb = match request.action {
        GateAction::Start => {
            lease::require(guest, &request.app)?;
            secrets::settle(guest, &request.app)?;
            "start"
        }
        GateAction::Stop => "stop",
    };
    let limit = Duration::from_secs(u64::from(request.timeout_s));
    systemd::job(guest, verb, &app.gate, limit)?;
    let gate = systemd::show_one(guest, &app.gate)?;
    if request.action == GateAction::Start && gate.unit.active == "active" {
        file::remove(&guest.path(MAINTENANCE))?;
    }
    let names = units_of(&app.units, &gate.parts, &app.gate);
    if request.action == GateAction::Stop {
        // The gate's own job does not wait for those of its parts.
        let shown = systemd::show(guest, &names)?.into_iter().map(|shown| shown.unit);
        let running = shown.filter(still_there).map(|unit| unit.name);
        systemd::stop_all(guest, &running.collect::<Vec<_>>(), limit)?;
    }
    let units = systemd::show(guest, &names)?.into_iter().map(|shown| shown.unit);
    let wrong: Vec<Unit> = units
        .filter(|unit| match request.action {
            GateAction::Start => unit.active == "failed" || unit.load != "loaded",
            GateAction::Stop => still_there(unit),
        })
        .collect();
    Ok(Gated { gate: gate.unit, wrong })
}

fn still_there(unit: &Unit) -> bool {
    unit.active != "inactive" && unit.active != "failed" && unit.load == "loaded"
}

/// Every unit behind a gate: those the manifest lists and those systemd ties to it.
pub(crate) fn units_of(listed: &[String], parts: &[String], gate: &str) -> Vec<String> {
    let mut names: Vec<String> = listed.iter().chain(parts).filter(|name| *name != gate).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| systemd::check_name(name).is_ok());
    names
}
