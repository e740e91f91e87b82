//! Whether the guest and its applications are well, as seen from inside.

use std::collections::BTreeMap;

use fedi_model::AppName;
use fedi_model::manifest::App;

use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{Filesystem, Health, HealthRequest, HookResult, Problem, RunHook, Unit};
use crate::systemd::Shown;
use crate::{facts, hook, lease, manifest, systemd};

/// Less than this much space or this share of inodes is a problem.
const LOW_BYTES: u64 = 256 * 1024 * 1024;
const LOW_PERCENT: u64 = 3;

/// Looks at units, probes and disks.
pub(crate) fn check(guest: &Guest, request: &HealthRequest) -> Result<Health, GuestError> {
    let apps: BTreeMap<AppName, App> = match &request.app {
        Some(name) => BTreeMap::from([(name.clone(), manifest::app(guest, name)?)]),
        None => manifest::load(guest)?.map(|manifest| manifest.apps).unwrap_or_default(),
    };
    let mut health = Health { healthy: true, problems: Vec::new(), units: Vec::new(), probes: BTreeMap::new() };
    for (name, app) in &apps {
        check_app(guest, name, app, request.probe, &mut health)?;
    }
    let known: Vec<&str> = health.problems.iter().map(|problem| problem.subject.as_str()).collect();
    let failed: Vec<String> =
        systemd::failed(guest)?.into_iter().filter(|unit| !known.contains(&unit.as_str())).collect();
    let (units, others): (Vec<String>, Vec<String>) =
        failed.into_iter().partition(|name| systemd::check_name(name).is_ok());
    for shown in systemd::show(guest, &units)? {
        health.problems.push(Problem { lasting: !shown.triggered, ..problem(&shown.unit.name, "it has failed") });
    }
    health.problems.extend(others.iter().map(|name| lasting(name, "it has failed")));
    for filesystem in facts::filesystems(guest)? {
        health.problems.extend(space(&filesystem));
    }
    health.healthy = health.problems.is_empty();
    Ok(health)
}

fn check_app(guest: &Guest, name: &AppName, app: &App, probe: bool, health: &mut Health) -> Result<(), GuestError> {
    if let Err(error) = lease::require(guest, name) {
        health.problems.push(problem(name.as_str(), &error.to_string()));
    }
    let gate = systemd::show_one(guest, &app.gate)?;
    let names = hook::units_of(&app.units, &gate.parts, &app.gate);
    health.problems.extend(gate_problem(&gate.unit));
    let open = gate.unit.active == "active";
    health.units.push(gate.unit);
    for shown in systemd::show(guest, &names)? {
        health.problems.extend(unit_problem(&shown, open));
        health.units.push(shown.unit);
    }
    if let Some(hook) = &app.hooks.probe {
        let result = if probe {
            let timeout_s = seconds(&hook.timeout).unwrap_or(60);
            hook::run(guest, &RunHook { unit: hook.unit.clone(), timeout_s })?
        } else {
            let unit = systemd::show_one(guest, &hook.unit)?.unit;
            let succeeded = unit.active != "failed" && unit.load == "loaded";
            HookResult { succeeded, timed_out: false, unit, journal: Vec::new() }
        };
        if !result.succeeded {
            let last = result.journal.last().map(|line| format!(": {line}")).unwrap_or_default();
            health.problems.push(problem(&hook.unit, &format!("the probe has failed{last}")));
        }
        health.probes.insert(name.clone(), result);
    }
    Ok(())
}

fn problem(subject: &str, message: &str) -> Problem {
    Problem { subject: subject.to_owned(), message: message.to_owned(), lasting: false }
}

/// A problem that stays until somebody mends it.
fn lasting(subject: &str, message: &str) -> Problem {
    Problem { lasting: true, ..problem(subject, message) }
}

fn gate_problem(gate: &Unit) -> Option<Problem> {
    match (gate.load.as_str(), gate.active.as_str()) {
        ("loaded", "active") => None,
        ("loaded", active) => Some(problem(&gate.name, &format!("the gate is {active}"))),
        (load, _) => Some(lasting(&gate.name, &format!("the gate is {load}"))),
    }
}

/// A unit behind an open gate is active, unless it comes and goes by design, as a
/// timer's oneshot does.
fn unit_problem(shown: &Shown, gate_open: bool) -> Option<Problem> {
    let unit = &shown.unit;
    if unit.load != "loaded" {
        return Some(lasting(&unit.name, &format!("it is {}", unit.load)));
    }
    match unit.active.as_str() {
        "failed" => {
            let result = unit.result.as_deref().unwrap_or("unknown");
            let status = unit.exit_status.map(|status| format!(", exit status {status}")).unwrap_or_default();
            // systemd has given up, unless something else starts it again.
            let message = format!("it has failed ({result}{status})");
            Some(Problem { lasting: !shown.triggered, ..problem(&unit.name, &message) })
        }
        "activating" if unit.sub == "auto-restart" => {
            let times = unit.restarts.unwrap_or(0);
            Some(problem(&unit.name, &format!("it keeps restarting ({times} times so far)")))
        }
        "inactive" if gate_open && !shown.transient => Some(problem(&unit.name, "it is not running")),
        _ => None,
    }
}

fn space(filesystem: &Filesystem) -> Option<Problem> {
    if filesystem.read_only {
        return None;
    }
    let subject = filesystem.mount.to_string_lossy();
    if filesystem.bytes_available < LOW_BYTES.min(filesystem.bytes / 10) {
        let left = filesystem.bytes_available / (1024 * 1024);
        return Some(lasting(&subject, &format!("only {left} MiB are left")));
    }
    if filesystem.inodes > 0 && filesystem.inodes_available * 100 < filesystem.inodes * LOW_PERCENT {
        return Some(lasting(&subject, &format!("only {} inodes are left", filesystem.inodes_available)));
    }
    None
}

/// Reads `90s`, `15m` or `2h`.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let (digits, factor) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (digits, "s") => (digits, 1),
        (digits, "m") => (digits, 60),
        (digits, "h") => (digits, 3600),
        _ => return None,
    };
    digits.parse::<u32>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("15m"), Some(900));
        for bad in ["", "s", "1d", "é", "99999999h"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_waiting_does_not_heal() {
        let shown = |active: &str, sub: &str, triggered| Shown {
            unit: Unit {
                name: "a.service".to_owned(),
                load: "loaded".to_owned(),
                active: active.to_owned(),
                sub: sub.to_owned(),
                ..Unit::default()
            },
            triggered,
            transient: triggered,
            parts: Vec::new(),
        };
        let lasting = |shown: &Shown| unit_problem(shown, true).map(|problem| problem.lasting);
        assert_eq!(lasting(&shown("failed", "failed", false)), Some(true));
        assert_eq!(lasting(&shown("failed", "failed", true)), Some(false));
        assert_eq!(lasting(&shown("activating", "auto-restart", false)), Some(false));
        assert_eq!(lasting(&shown("inactive", "dead", false)), Some(false));
        assert_eq!(lasting(&shown("active", "running", false)), None);
        let gone = Shown { unit: Unit { load: "not-found".to_owned(), ..Unit::default() }, ..Shown::default() };
        assert_eq!(lasting(&gone), Some(true));
    }

    #[test]
    fn a_small_disk_is_not_low_by_its_size_alone() {
        let disk = |bytes, bytes_available| Filesystem {
            mount: "/boot".into(),
            kind: "vfat".to_owned(),
            bytes,
            bytes_available,
            inodes: 0,
            inodes_available: 0,
            read_only: false,
        };
        assert!(space(&disk(128 << 20, 100 << 20)).is_none());
        assert!(space(&disk(128 << 20, 5 << 20)).is_some_and(|problem| problem.lasting));
        assert!(space(&disk(100 << 30, 100 << 20)).is_some());
    }
}
