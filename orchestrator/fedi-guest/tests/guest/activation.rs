//! Activation with everything that can go wrong between its steps.

use std::path::PathBuf;

use anyhow::Result;
use fedi_guest::protocol::{
    ActivationShow, Confirm, ErrorKind, Event, FactsRequest, GenerationsRequest, Phase, Reason, SystemFacts,
};

use crate::harness::{self, Session, TestGuest, wait_for};
use crate::systems::{self, activate, bring};

fn system(session: &mut Session) -> Result<SystemFacts> {
    Ok(session.ok(FactsRequest::default())?.system)
}

fn install(guest: &TestGuest, session: &mut Session, name: &str) -> Result<PathBuf> {
    let path = bring(guest, session, name, "")?;
    let token = session.ok(activate(&path))?.token;
    session.ok(Confirm { token })?;
    Ok(path)
}

#[test]
fn confirmed_failed_and_repeated() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    let good = bring(&guest, &mut session, "good", "")?;
    let request = activate(&good);
    let waiting = session.ok(request.clone())?;
    assert!(matches!(waiting.phase, Phase::Waiting { .. }));
    assert!(session.events.contains(&Event::Output { line: "good test".to_owned() }), "{:?}", session.events);
    assert_eq!(system(&mut session)?.generation, None);

    // The confirmation comes over a connection of its own, which shows that there still can be one.
    let done = guest.session()?.ok(Confirm { token: request.token })?;
    assert_eq!(done.phase, Phase::Confirmed { generation: 1 });
    let facts = system(&mut session)?;
    assert_eq!((facts.running.as_ref(), facts.generation_system.as_ref()), (Some(&good), Some(&good)));

    let bad = bring(&guest, &mut session, "bad", "echo no such thing >&2\nexit 4")?;
    let error = session.call(activate(&bad))?.expect_err("it fails");
    assert_eq!(error.kind, ErrorKind::ActivationFailed);
    assert!(error.message.contains(&format!("; `{}` is active again", good.display())), "{error}");
    assert_eq!(error.causes, ["`switch-to-configuration` ended with exit status 4", "bad test", "no such thing"]);
    assert_eq!(system(&mut session)?.running, Some(good.clone()));

    // The supervisor's unit leaves nothing behind.
    wait_for("the supervisor to end", || {
        Ok(guest.run("systemctl list-units --all --plain --no-legend 'fedi-activation-*'")?.is_empty())
    })?;
    assert_eq!(session.ok(GenerationsRequest::default())?.generations.len(), 1);
    Ok(())
}

#[test]
fn a_lost_connection_brings_the_earlier_system_back() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    let good = install(&guest, &mut session, "good")?;

    // Cut off while the system is being activated; nobody confirms.
    let next = bring(&guest, &mut session, "next", "sleep 1")?;
    let request = fedi_guest::protocol::Activate { confirm_within_s: 2, ..activate(&next) };
    session.ask(request.clone())?;
    while !matches!(session.event()?, Event::Phase { phase: Phase::Switching }) {}
    session.cut()?;

    let mut session = guest.session()?;
    wait_for("the rollback", || {
        let shown = session.ok(ActivationShow { token: Some(request.token) })?;
        Ok(matches!(shown.phase, Phase::RolledBack { reason: Reason::NotConfirmed { seconds: 2 } }))
    })?;
    let facts = system(&mut session)?;
    assert_eq!((facts.running, facts.generation), (Some(good), Some(1)));
    let late = session.call(Confirm { token: request.token })?.expect_err("it is too late");
    assert_eq!(late.kind, ErrorKind::TooLate);

    // Cut off again, but back in time: the same request joins and is confirmed.
    let request = activate(&next);
    session.ask(request.clone())?;
    while !matches!(session.event()?, Event::Phase { phase: Phase::Switching }) {}
    session.cut()?;
    let mut session = guest.session()?;
    assert!(matches!(session.ok(request.clone())?.phase, Phase::Waiting { .. }));
    assert_eq!(session.ok(Confirm { token: request.token })?.phase, Phase::Confirmed { generation: 2 });
    Ok(())
}

#[test]
fn killed_supervisor_and_restarted_guest() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    let good = install(&guest, &mut session, "good")?;
    let next = bring(&guest, &mut session, "next", "")?;

    // Killed while it waits: systemd starts it again, and it goes on waiting.
    let request = activate(&next);
    let unit = format!("fedi-activation-{}.service", request.token);
    session.ok(request.clone())?;
    guest.run(&format!("systemctl kill --signal=KILL {unit}"))?;
    wait_for("the next supervisor", || Ok(guest.run(&format!("systemctl show -P NRestarts {unit}"))?.trim() == "1"))?;
    assert_eq!(session.ok(Confirm { token: request.token })?.phase, Phase::Confirmed { generation: 2 });

    // Killed while it switches: what is half active is rolled back.
    let third = bring(&guest, &mut session, "third", "sleep 60")?;
    let request = activate(&third);
    let unit = format!("fedi-activation-{}.service", request.token);
    session.ask(request.clone())?;
    while !matches!(session.event()?, Event::Phase { phase: Phase::Switching }) {}
    guest.run(&format!("systemctl kill --signal=KILL {unit}"))?;
    let mut second = guest.session()?;
    wait_for("the rollback", || {
        let shown = second.ok(ActivationShow { token: Some(request.token) })?;
        Ok(matches!(shown.phase, Phase::RolledBack { reason: Reason::SupervisorDied }))
    })?;
    assert_eq!(system(&mut second)?.running, Some(next.clone()));

    // Restarted before the confirmation: the permanent system is what boots.
    let request = activate(&good);
    second.ok(request.clone())?;
    guest.restart()?;
    let mut session = guest.session()?;
    let unknown = session.call(Confirm { token: request.token })?.expect_err("it is forgotten");
    assert_eq!(unknown.kind, ErrorKind::UnknownActivation);
    guest.run("fedi-guest boot")?;
    let facts = system(&mut session)?;
    assert_eq!((facts.running, facts.generation), (Some(next), Some(2)));
    assert!(systems::PROFILE == facts.profile.to_str().unwrap_or_default());
    Ok(())
}
