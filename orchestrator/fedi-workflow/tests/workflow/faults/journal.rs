//! The journal, the keys, and two fedi at once.

use std::process::Stdio;
use std::time::Duration;

use fedi_engine::drivers::DriverErrorKind;
use fedi_engine::store::StoreError;
use fedi_engine::{Engine, EngineError, EngineOptions, SystemClock, Unobserved};
use fedi_sim::faults::Command;
use fedi_test::child;
use fedi_testsite::Wiring;
use fedi_workflow::WorkflowError;

use super::{completed, nothing_is_left, says, site, unwound};

/// The child: deploys in the site of its argument.
#[tokio::test]
async fn deploying_child() {
    let Some(root) = child::argument() else { return };
    let wiring = Wiring::open(std::path::Path::new(&root));
    let plan = wiring.desk.deploy(&wiring.deployment("matrix")).await.unwrap().plan;
    let engine = Engine::new(
        wiring.store.clone(),
        wiring.world(),
        std::sync::Arc::new(SystemClock),
        std::sync::Arc::new(Unobserved),
    );
    engine.with_options(EngineOptions::default()).start(&plan).await.unwrap();
}

#[tokio::test]
async fn two_fedi_at_once() {
    if child::argument().is_some() {
        return;
    }
    let site = site().await;
    // An hour by the node's clock: the other one is at it for as long as this takes.
    site.sim.control(Command::ImportDelay { milliseconds: 3_600_000 }).await;
    let root = site.root().display().to_string();
    let mut command = child::command("faults::journal::deploying_child", &root);
    let mut other = command.stdout(Stdio::null()).spawn().unwrap();
    while site.sim.vmids().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // To plan is allowed; to change anything is not.
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    let error = site.engine().start(&prepared.plan).await.unwrap_err();
    assert!(matches!(error, EngineError::Store(StoreError::Held(_))), "{error:?}");
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains(&format!("(pid {})", other.id())), "{error}");
    assert!(error.to_string().contains("holds the writer lease since"), "{error}");
    assert!(error.hint().unwrap().contains("Wait until it is done"));
    let run = site.wiring.store.open_runs().await.unwrap()[0].id;
    assert_eq!(site.engine().resume(run).await.unwrap_err().exit_code(), 5);

    // Once it is dead its run can be taken up at once, and taken back.
    other.kill().unwrap();
    other.wait().unwrap();
    let outcome = site.engine().undo(run).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
    nothing_is_left(&site).await;
}

/// A bit of the state database turned over.
#[tokio::test]
async fn a_damaged_journal() {
    let mut site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let before = site.snapshot().await;
    let folder = site.wiring.layout.state();
    let damaged = damage(&folder, b"\"vmid\":9000", b"\"vmid\":9009");
    assert!(damaged > 0, "there was nothing to damage");
    site.reopen();
    for result in [site.deploy("matrix").await, site.destroy("matrix").await] {
        let Err(WorkflowError::Store(error)) = result else { panic!("{result:?}") };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        let told = error.to_string();
        assert!(told.starts_with("The state database `") && told.contains("does not match its checksum"), "{told}");
        assert!(error.hint().unwrap().contains("Put a good copy of"), "{error:?}");
    }
    assert_eq!(site.snapshot().await, before, "nothing was touched");
    // The good copy is put back.
    damage(&folder, b"\"vmid\":9009", b"\"vmid\":9000");
    site.reopen();
    assert_eq!(site.deploy("matrix").await.unwrap().exit_code(), 0);
}

/// Replaces a text of the same length in the files of the database; how often it was there.
fn damage(folder: &std::path::Path, from: &[u8], to: &[u8]) -> usize {
    let mut found = 0;
    for name in ["state.db", "state.db-wal"] {
        let path = folder.join(name);
        let Ok(mut content) = std::fs::read(&path) else { continue };
        let mut at = 0;
        while let Some(next) = content[at..].windows(from.len()).position(|window| window == from) {
            content[at + next..][..to.len()].copy_from_slice(to);
            (at, found) = (at + next + 1, found + 1);
        }
        std::fs::write(&path, content).unwrap();
    }
    found
}

#[tokio::test]
async fn an_age_key_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let site = site().await;
    let key = site.wiring.layout.config().join("age.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    let message = format!("Failed to read the age identity `{}`", key.display());
    says(&failure, &message, "Others can read it", &format!("chmod 600 {}", key.display()));
    assert!(site.sim.vmids().is_empty());
}

#[tokio::test]
async fn an_age_key_that_is_gone() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    std::fs::remove_file(site.wiring.layout.config().join("age.key")).unwrap();
    // Nothing needs to be decrypted, so nothing is missed; a new guest would need it.
    assert_eq!(site.deploy("matrix").await.unwrap().exit_code(), 0);
    let error = site.wiring.secrets.check().await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Denied);
    assert!(error.hint.unwrap().contains("fedi init"));
}
