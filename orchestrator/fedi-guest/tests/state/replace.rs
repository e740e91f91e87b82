//! Pausing, and restoring over what is there.

use fedi_guest::protocol::{ErrorKind, LeaseRevoke, StateClear, StatePause, StatePlaces, StateResume};
use fedi_model::state::Consistency::{DumpThenFiles, Quiesced};

use crate::machine::{Machine, captures, repository, restores, toy, until};

#[test]
fn paused_and_resumed() {
    let Some(machine) = Machine::with_application() else { return };
    machine.call(StatePause { app: toy(), drain: true }).unwrap();
    assert_eq!(machine.jobs(), ["start toy-drain.service", "stop fedi-toy.target"]);
    // What is paused is paused.
    machine.call(StatePause { app: toy(), drain: true }).unwrap();
    assert_eq!(machine.jobs().len(), 2);
    machine.call(StateResume { app: toy() }).unwrap();
    assert_eq!(machine.unit("toy.service"), "active");
}

/// A machine whose application shows a maintenance page before its queues are drained.
fn with_a_page() -> Option<Machine> {
    let machine = Machine::with_application()?;
    machine.declare(|app| {
        app["hooks"]["quiesce"] = serde_json::json!({ "unit": "toy-quiesce.service", "timeout": "60s" });
        app["hooks"]["drain"]["timeout"] = "1s".into();
    });
    let page = machine.path("/run/fedi/maintenance");
    std::fs::create_dir_all(page.parent().unwrap()).unwrap();
    std::fs::write(machine.root().join("units/toy-quiesce.service.run"), format!("touch {}\n", page.display()))
        .unwrap();
    Some(machine)
}

#[test]
fn a_queue_that_never_drains_leaves_it_running() {
    let Some(machine) = with_a_page() else { return };
    let (_folder, repository) = repository();
    for (fault, kind, why) in [
        ("toy-drain.service.fails", ErrorKind::UnitFailed, "the drain hook, has failed"),
        ("toy-drain.service.hangs", ErrorKind::Timeout, "the drain hook, did not end within 1s"),
    ] {
        machine.set(fault, "");
        let error = machine.untouched(&repository, StatePause { app: toy(), drain: true });
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains("toy-drain.service") && error.message.contains(why), "{error}");
        // Requests are taken again: the gate was asked to start, which takes the page away.
        assert_eq!(machine.jobs().last().map(String::as_str), Some("start fedi-toy.target"));
        assert!(!machine.jobs().contains(&"stop fedi-toy.target".to_owned()), "{:?}", machine.jobs());
        std::fs::remove_file(machine.root().join("units").join(fault)).unwrap();
    }
    machine.set("toy-drain.service.hangs", "");
    // Without waiting for the queue it works, and the page is there until it runs again.
    machine.call(StatePause { app: toy(), drain: false }).unwrap();
    assert_eq!(machine.unit("toy.service"), "inactive");
    assert!(machine.path("/run/fedi/maintenance").exists());
    machine.call(StateResume { app: toy() }).unwrap();
    assert!(!machine.path("/run/fedi/maintenance").exists());
}

/// Somebody has a session with the database, which the application's end does not end.
#[test]
fn who_does_not_leave_makes_it_run_again() {
    let Some(machine) = with_a_page() else { return };
    let (_folder, repository) = repository();
    let mut session = machine.psql("toy").args(["-c", "SELECT pg_sleep(1000)"]).spawn().unwrap();
    until("the session", || {
        machine.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'toy'") == "1"
    });
    let error = machine.untouched(&repository, StatePause { app: toy(), drain: true });
    assert_eq!(error.kind, ErrorKind::Running, "{error}");
    assert!(error.message.contains("psql"), "{error}");
    let jobs = machine.jobs();
    assert_eq!(jobs[jobs.len() - 2..], ["stop fedi-toy.target", "start fedi-toy.target"]);
    machine.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'toy'");
    session.wait().unwrap();
    machine.call(StatePause { app: toy(), drain: true }).unwrap();
}

#[test]
fn a_session_with_the_database_is_somebody() {
    let Some(machine) = Machine::with_application() else { return };
    machine.stop();
    let (_folder, repository) = repository();
    let mut session = machine.psql("toy").args(["-c", "SELECT pg_sleep(1000)"]).spawn().unwrap();
    until("the session", || {
        machine.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'toy'") == "1"
    });
    let (kind, message) = machine.refuses(captures(&repository, Quiesced, "one"));
    assert_eq!(kind, ErrorKind::Running, "{message}");
    assert!(message.contains("psql"), "{message}");
    machine.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'toy'");
    session.wait().unwrap();
    machine.call(captures(&repository, Quiesced, "one")).unwrap();
}

#[test]
fn restored_over_what_is_there() {
    let Some(machine) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let wanted = machine.call(captures(&repository, DumpThenFiles, "wanted")).unwrap();
    machine.sql("toy", "DELETE FROM notes");
    machine.write("/var/lib/toy/later", b"came later");
    let clear =
        |fail_safe: &str| StateClear { app: toy(), repository: repository.clone(), fail_safe: fail_safe.to_owned() };
    assert_eq!(machine.refuses(clear(&wanted.snapshot)).0, ErrorKind::Held);
    machine.call(StatePause { app: toy(), drain: false }).unwrap();
    let fail_safe = machine.call(captures(&repository, Quiesced, "fail-safe")).unwrap().snapshot;
    machine.call(LeaseRevoke { app: toy(), epoch: 3 }).unwrap();
    // One that was taken while it ran makes up for nothing.
    let (kind, message) = machine.refuses(clear(&wanted.snapshot));
    assert_eq!(kind, ErrorKind::Invalid, "{message}");
    assert_eq!(machine.refuses(restores(&repository, &wanted)).0, ErrorKind::NotEmpty);
    assert!(machine.path("/var/lib/toy/later").exists(), "nothing was touched");

    machine.call(clear(&fail_safe)).unwrap();
    let places = machine.call(StatePlaces { app: toy() }).unwrap().places;
    assert!(places.iter().all(|place| place.holds.is_none()), "{places:?}");
    machine.call(restores(&repository, &wanted)).unwrap();
    assert_eq!(machine.sql("toy", "SELECT count(*) FROM notes"), "1000");
    assert!(!machine.path("/var/lib/toy/later").exists());

    // And back to what was there before.
    machine.call(clear(&fail_safe)).unwrap();
    let back = fedi_guest::protocol::StateRestore { snapshot: fail_safe, ..restores(&repository, &wanted) };
    machine.call(back).unwrap();
    assert_eq!(machine.sql("toy", "SELECT count(*) FROM notes"), "0");
    assert!(machine.path("/var/lib/toy/later").exists());
}
