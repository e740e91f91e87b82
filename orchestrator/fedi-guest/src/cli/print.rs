//! Answers as text for people.

use std::fmt::Write;

use fedi_guest::protocol::{
    Activation, BackupAttempt, BackupStatus, Facts, Gated, Generations, Health, HookResult, Lease, LeaseState, Leases,
    Op, Phase, SecretDelivered, StatePlace, StatePlacesFound, Unit, Units,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The answer to an operation as text; what has no form of its own is shown as JSON.
pub(super) fn text(op: &Op, answer: &Value) -> String {
    let shown = match op {
        Op::Facts(_) => read(answer).map(|facts| facts_text(&facts)),
        Op::LeaseShow(_) => read(answer).map(|leases| leases_text(&leases)),
        Op::LeaseGrant(_) | Op::LeaseRevoke(_) => read(answer).map(|lease: Lease| lease_text(&lease) + "\n"),
        Op::Health(_) => read(answer).map(|health| health_text(&health)),
        Op::Units(_) => read(answer).map(|units: Units| units.units.iter().map(unit_text).collect()),
        Op::Gate(_) => {
            read(answer).map(|gated: Gated| std::iter::once(&gated.gate).chain(&gated.wrong).map(unit_text).collect())
        }
        Op::RunHook(_) => read(answer).map(|hook| hook_text(&hook)),
        Op::StatePlaces(_) => read(answer).map(|found: StatePlacesFound| places_text(&found)),
        Op::BackupStatus(_) => read(answer).map(|status| backup_text(&status)),
        Op::Generations(_) => read(answer).map(|generations| generations_text(&generations)),
        Op::Activate(_) | Op::Rollback(_) | Op::Confirm(_) | Op::Cancel(_) | Op::ActivationShow(_) => {
            read(answer).map(|activation| activation_text(&activation))
        }
        Op::SecretsSettle(_) | Op::SecretsDeliver(_) => read(answer).map(|secrets: SecretDelivered| {
            format!(
                "{} written, {} unchanged, {} wait for their owner\n",
                secrets.written.len(),
                secrets.unchanged.len(),
                secrets.held.len()
            )
        }),
        _ => None,
    };
    shown.unwrap_or_else(|| format!("{answer:#}\n"))
}

fn read<T: DeserializeOwned>(answer: &Value) -> Option<T> {
    serde_json::from_value(answer.clone()).ok()
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}

fn facts_text(facts: &Facts) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("host name", facts.hostname.clone());
    row("uuid", facts.uuid.map_or("none".to_owned(), |uuid| uuid.to_string()));
    row("os", facts.os.name.clone());
    row("time", facts.time.to_string());
    row("up since", format!("{:.0} s, boot {}", facts.uptime_s, facts.boot_id));
    row("agent", facts.agent.clone());
    let system = &facts.system;
    row("running", system.running.as_ref().map_or("no system".to_owned(), |path| path.display().to_string()));
    let boots = match (system.generation, &system.generation_system) {
        (Some(number), Some(path)) => format!("generation {number}: {}", path.display()),
        _ => "no generation".to_owned(),
    };
    row("boots", boots);
    row("manifest", facts.manifest.sha256.clone().unwrap_or_else(|| "none".to_owned()));
    row("memory", format!("{} of {} available", mib(facts.memory.available), mib(facts.memory.total)));
    for filesystem in &facts.filesystems {
        let value =
            format!("{} of {} available ({})", mib(filesystem.bytes_available), mib(filesystem.bytes), filesystem.kind);
        row(&filesystem.mount.display().to_string(), value);
    }
    for address in &facts.addresses {
        row(&address.interface, format!("{}/{}", address.address, address.prefix));
    }
    for (app, lease) in &facts.leases {
        row(&format!("lease {app}"), lease_text(lease));
    }
    for (app, secrets) in &facts.secrets {
        for (name, secret) in secrets {
            row(
                &format!("secret {app}/{name}"),
                format!("version {}, {:?}", secret.version, secret.state).to_lowercase(),
            );
        }
    }
    table(&rows)
}

fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:width$}  {value}");
        text
    })
}

fn lease_text(lease: &Lease) -> String {
    let state = match lease.state {
        LeaseState::Held => "held",
        LeaseState::Revoked => "revoked",
        LeaseState::Elsewhere => "not valid on this machine",
    };
    format!("{state}, epoch {}, since {}", lease.epoch, lease.since)
}

fn leases_text(leases: &Leases) -> String {
    if leases.leases.is_empty() {
        return "No lease: this guest is dormant\n".to_owned();
    }
    let rows: Vec<_> = leases.leases.iter().map(|(app, lease)| (app.to_string(), lease_text(lease))).collect();
    table(&rows)
}

fn unit_text(unit: &Unit) -> String {
    let state = if unit.load == "loaded" { format!("{} ({})", unit.active, unit.sub) } else { unit.load.clone() };
    format!("{}  {state}\n", unit.name)
}

fn health_text(health: &Health) -> String {
    let mut text: String = health.units.iter().map(unit_text).collect();
    for problem in &health.problems {
        let _ = writeln!(text, "! {}: {}", problem.subject, problem.message);
    }
    text.push_str(if health.healthy { "healthy\n" } else { "not healthy\n" });
    text
}

fn hook_text(hook: &HookResult) -> String {
    let mut text = String::new();
    for line in &hook.journal {
        let _ = writeln!(text, "  {line}");
    }
    let end = match (hook.succeeded, hook.timed_out) {
        (true, _) => "succeeded",
        (false, true) => "was stopped: it took too long",
        (false, false) => "failed",
    };
    let _ = writeln!(text, "{} {end}", hook.unit.name);
    text
}

fn generations_text(generations: &Generations) -> String {
    let mut text = String::new();
    for generation in &generations.generations {
        let mark = if generation.current { "*" } else { " " };
        let running = if generation.running { "  (running)" } else { "" };
        let made = generation.created.map_or(String::new(), |time| format!("  {time:.0}"));
        let _ = writeln!(text, "{mark} {:4}{made}  {}{running}", generation.number, generation.system.display());
    }
    if text.is_empty() { "No generations\n".to_owned() } else { text }
}

fn places_text(found: &StatePlacesFound) -> String {
    let row = |place: &StatePlace| {
        let holds = match &place.holds {
            Some(holds) => format!("{holds}, {}", mib(place.bytes)),
            None => "empty".to_owned(),
        };
        (format!("{} ({})", place.item, place.what), holds)
    };
    table(&found.places.iter().map(row).collect::<Vec<_>>())
}

fn backup_text(status: &BackupStatus) -> String {
    let attempt = |attempt: &BackupAttempt| {
        let what = match (&attempt.snapshot, &attempt.error) {
            (Some(snapshot), _) => {
                format!("{}, {} of it new", mib(attempt.bytes), mib(attempt.new_bytes)) + ": " + snapshot
            }
            (None, error) => error.clone().unwrap_or_default(),
        };
        format!("{:.0}, {} s, {what}", attempt.at, attempt.took_ms / 1000)
    };
    let mut rows = vec![("configured".to_owned(), if status.configured { "yes" } else { "no" }.to_owned())];
    rows.extend(status.next.map(|next| ("next".to_owned(), next.to_string())));
    rows.extend(status.last_success.as_ref().map(|it| ("last success".to_owned(), attempt(it))));
    rows.extend(status.last_failure.as_ref().map(|it| ("failed since".to_owned(), attempt(it))));
    table(&rows)
}

fn activation_text(activation: &Activation) -> String {
    let state = match &activation.phase {
        Phase::Waiting { .. } => format!("active; confirm with `fedi-guest confirm {}`", activation.token),
        Phase::Confirmed { generation } => format!("confirmed as generation {generation}"),
        Phase::RolledBack { .. } => "rolled back".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    format!("{}: {state}\n", activation.system.display())
}
