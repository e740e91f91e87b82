//! An application on a guest: dark without a lease, delivered with secrets, well
//! or not well, and a guest whose disk is full.

use anyhow::Result;
use fedi_guest::protocol::{
    Confirm, ErrorKind, FactsRequest, Gate, GateAction, HealthRequest, LeaseGrant, LeaseRevoke, RunHook, Secret,
    SecretState, SecretValue, SecretsDeliver, UnitsRequest,
};
use fedi_model::{AppName, SecretName};

use crate::harness::{self, Session, TestGuest};
use crate::systems::{activate, bring};

fn toy() -> AppName {
    AppName::new("toy").expect("a name")
}

fn install(guest: &TestGuest, session: &mut Session) -> Result<()> {
    let system = bring(guest, session, "good", "")?;
    let token = session.ok(activate(&system))?.token;
    session.ok(Confirm { token })?;
    Ok(())
}

fn gate(session: &mut Session, action: GateAction) -> Result<Result<String, ErrorKind>> {
    let answer = session.call(Gate { app: toy(), action, timeout_s: 60 })?;
    Ok(answer.map(|gated| gated.gate.active).map_err(|error| error.kind))
}

fn active(session: &mut Session, unit: &str) -> Result<String> {
    Ok(session.ok(UnitsRequest { units: vec![unit.to_owned()] })?.units.remove(0).active)
}

#[test]
fn dark_without_a_lease_also_after_a_restart() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    install(&guest, &mut session)?;
    let holder = guest.uuid;

    // Fresh: neither the gate nor a unit by hand starts; nothing counts as failed.
    assert_eq!(gate(&mut session, GateAction::Start)?, Err(ErrorKind::NotHeld));
    guest.try_run("systemctl start fedi-toy.target toy.service")?;
    assert_eq!(active(&mut session, "toy.service")?, "inactive");
    assert_eq!(guest.run("systemctl --failed --plain --no-legend")?, "");

    session.ok(LeaseGrant { app: toy(), epoch: 1, holder })?;
    assert_eq!(gate(&mut session, GateAction::Start)?, Ok("active".to_owned()));
    assert_eq!(active(&mut session, "toy.service")?, "active");
    let health = session.ok(HealthRequest { app: Some(toy()), probe: true })?;
    assert!(health.healthy, "{:?}", health.problems);
    assert_eq!(health.probes[&toy()].journal.iter().filter(|line| *line == "probing").count(), 1);

    // Held, it comes back by itself.
    guest.restart()?;
    guest.run("fedi-guest boot")?;
    let mut session = guest.session()?;
    harness::wait_for("the application", || Ok(active(&mut session, "toy.service")? == "active"))?;

    // Fenced, it does not.
    assert_eq!(gate(&mut session, GateAction::Stop)?, Ok("inactive".to_owned()));
    assert_eq!(active(&mut session, "toy.service")?, "inactive");
    session.ok(LeaseRevoke { app: toy(), epoch: 1 })?;
    guest.restart()?;
    guest.run("fedi-guest boot")?;
    guest.try_run("systemctl start toy.service")?;
    let mut session = guest.session()?;
    assert_eq!(active(&mut session, "toy.service")?, "inactive");
    let stale = session.call(LeaseGrant { app: toy(), epoch: 1, holder })?.expect_err("it is fenced");
    assert_eq!(stale.kind, ErrorKind::StaleEpoch);
    Ok(())
}

#[test]
fn not_well_is_told() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    install(&guest, &mut session)?;
    session.ok(LeaseGrant { app: toy(), epoch: 1, holder: guest.uuid })?;
    gate(&mut session, GateAction::Start)?.expect("it starts");
    guest.run("systemctl stop toy.service")?;
    let health = session.ok(HealthRequest { app: Some(toy()), probe: true })?;
    let subjects: Vec<&str> = health.problems.iter().map(|problem| problem.subject.as_str()).collect();
    assert_eq!(subjects, ["toy.service", "toy-probe.service"], "{:?}", health.problems);
    let output = guest.try_run("fedi-guest health toy")?;
    assert_eq!(output.status.code(), Some(6));

    let missing =
        session.call(RunHook { unit: "nothing.service".to_owned(), timeout_s: 5 })?.expect_err("no such unit");
    assert_eq!(missing.kind, ErrorKind::Missing);
    let slow = "[Service]\nType=oneshot\nExecStart=/usr/bin/sleep 600\n";
    guest.run(&format!("printf '{slow}' >/run/systemd/system/slow.service && systemctl daemon-reload"))?;
    let result = session.ok(RunHook { unit: "slow.service".to_owned(), timeout_s: 1 })?;
    assert!(result.timed_out && !result.succeeded);
    assert_ne!(active(&mut session, "slow.service")?, "activating");
    Ok(())
}

/// A hook's own lines, its last ones, from its first word on and from this run alone.
#[test]
fn what_a_hook_writes_is_told() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    for (name, script) in [("brief", "echo once"), ("long", "seq 100")] {
        let unit = format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c \"{script}\"\n");
        guest.run(&format!("printf '%s' '{unit}' >/run/systemd/system/{name}.service"))?;
    }
    guest.run("systemctl daemon-reload")?;
    for _ in 0..20 {
        let brief = session.ok(RunHook { unit: "brief.service".to_owned(), timeout_s: 30 })?.journal;
        assert_eq!(brief.iter().filter(|line| *line == "once").count(), 1, "{brief:?}");
    }
    let long = session.ok(RunHook { unit: "long.service".to_owned(), timeout_s: 30 })?.journal;
    let numbers: Vec<u32> = long.iter().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(long.len(), 40);
    assert!(numbers.len() >= 35, "{long:?}");
    assert_eq!(numbers, (101 - u32::try_from(numbers.len())?..=100).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_failure_is_forgotten_with_its_unit() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    let unit = "/run/systemd/system/gone.service";
    guest.run(&format!("printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' >{unit}"))?;
    guest.try_run("systemctl daemon-reload; systemctl start gone.service")?;
    let mut subjects = || -> Result<Vec<String>> {
        Ok(session.ok(HealthRequest::default())?.problems.into_iter().map(|problem| problem.subject).collect())
    };
    assert_eq!(subjects()?, ["gone.service"]);
    guest.run(&format!("rm {unit} && systemctl daemon-reload"))?;
    assert!(guest.run("systemctl --failed --plain --no-legend")?.contains("gone.service"));
    assert_eq!(subjects()?, [""; 0]);
    Ok(())
}

#[test]
fn a_gate_that_does_not_open_is_a_failed_command() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    install(&guest, &mut session)?;
    session.ok(LeaseGrant { app: toy(), epoch: 1, holder: guest.uuid })?;
    let folder = "/run/systemd/system/fedi-toy-lease.service.d";
    guest.run(&format!(
        "mkdir {folder} && printf '[Service]\\nExecStartPre=/bin/false\\n' >{folder}/fail.conf && systemctl daemon-reload"
    ))?;
    let output = guest.try_run("fedi-guest gate start toy")?;
    assert_eq!(output.status.code(), Some(1));
    let talk = String::from_utf8(output.stderr)?;
    for said in ["error: Failed to start `toy`", "`fedi-toy.target` is inactive", "`fedi-toy-lease.service` is failed"]
    {
        assert!(talk.contains(said), "{said}: {talk}");
    }
    guest.run(&format!("rm -r {folder} && systemctl daemon-reload"))?;
    guest.run("fedi-guest gate start toy")?;

    // A drain is undone: the gate was never closed, and requests are taken again.
    guest.run("touch /run/fedi/maintenance && systemctl stop toy-clean.timer")?;
    guest.run("fedi-guest gate start toy && test ! -e /run/fedi/maintenance")?;
    assert_eq!(active(&mut session, "toy-clean.timer")?, "active");
    guest.run("fedi-guest gate stop toy")?;
    Ok(())
}

#[test]
fn secrets_and_a_full_disk() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    let value = "correct-horse-battery";
    let secret = Secret {
        name: SecretName::new("key")?,
        version: 3,
        fingerprint: "hmac-sha256:00".to_owned(),
        value: SecretValue::new(value),
        owner: "toy".to_owned(),
        group: "toy".to_owned(),
        mode: "0440".to_owned(),
    };
    let deliver = SecretsDeliver { app: toy(), secrets: vec![secret.clone()] };
    assert_eq!(session.ok(deliver.clone())?.held.len(), 1);
    // The system makes the user; the secret becomes theirs.
    let system = bring(&guest, &mut session, "users", "useradd --system toy")?;
    let token = session.ok(activate(&system))?.token;
    session.ok(Confirm { token })?;
    let path = "/var/lib/fedi/secrets/toy/key";
    assert_eq!(guest.run(&format!("stat -c '%U %G %a' {path}"))?.trim(), "toy toy 440");
    assert_eq!(guest.run(&format!("runuser -u toy -- cat {path}"))?, value);
    let facts = session.ok(FactsRequest::default())?;
    assert_eq!(facts.secrets[&toy()][&secret.name].state, SecretState::Intact);
    assert_eq!(guest.run(&format!("journalctl --no-pager | grep -c {value}; true"))?.trim(), "0");

    // A full disk: clear errors, and what was there stays whole.
    let held = guest.uuid;
    session.ok(LeaseGrant { app: toy(), epoch: 1, holder: held })?;
    guest.try_run("dd if=/dev/zero of=/fill bs=1M 2>/dev/null; dd if=/dev/zero of=/fill2 bs=1k 2>/dev/null")?;
    let larger = Secret { version: 4, value: SecretValue::new(vec![b'x'; 500_000]), ..secret.clone() };
    let full = session.call(SecretsDeliver { app: toy(), secrets: vec![larger] })?.expect_err("the disk is full");
    assert_eq!(full.kind, ErrorKind::DiskFull, "{full}");
    assert!(full.hint.is_some());
    let facts = session.ok(FactsRequest::default())?;
    assert_eq!(facts.secrets[&toy()][&secret.name].version, 3);
    assert_eq!(facts.secrets[&toy()][&secret.name].state, SecretState::Intact);
    let health = session.ok(HealthRequest::default())?;
    assert!(health.problems.iter().any(|problem| problem.subject == "/"), "{:?}", health.problems);
    guest.run("rm /fill /fill2")?;
    assert!(session.ok(deliver)?.unchanged.len() == 1);
    Ok(())
}
