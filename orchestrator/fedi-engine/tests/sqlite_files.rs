//! The state database as a file: who may read it, and what is refused rather than
//! made worse.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fedi_engine::load;
use fedi_engine::store::{Holder, LeaseStore, LedgerStore, RunStore, SqliteStore, StoreError};
use fedi_model::plan::StepId;
use fedi_model::run::{RunId, RunPhase};
use fedi_test::sample::Sample;
use fedi_test::{MapWorld, TestClock};
use rusqlite::Connection;
use std::sync::Arc;
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A folder with a database that has a finished run in it.
async fn with_a_run() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let world = Arc::new(MapWorld::default());
    let plan = Sample::new("matrix").deploy(world.as_ref()).await;
    let clock = Arc::new(TestClock::default());
    let engine = fedi_engine::Engine::new(store, world, clock, Arc::new(fedi_engine::Unobserved));
    assert_eq!(engine.start(&plan).await.unwrap().exit_code(), 0);
    drop(engine);
    // The last connection to close writes the log back into the file.
    while path.with_file_name("state.db-wal").exists() {
        tokio::task::yield_now().await;
    }
    (folder, path)
}

/// Changes the database behind fedi's back.
fn tamper(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

fn damaged<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(error @ StoreError::Damaged { .. }) => {
            assert!(error.hint().unwrap().contains("Nothing was changed"));
            error.to_string()
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not noticed"),
    }
}

#[tokio::test]
async fn only_its_owner_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/state.db");
    let store = SqliteStore::open(&path).unwrap();
    store.acquire(&Holder::current(), jiff::Timestamp::now(), None).await.unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    SqliteStore::open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = SqliteStore::open(&folder.path().join("state.db")).unwrap_err();
    assert!(matches!(error, StoreError::Exposed { .. }));
    assert_eq!(error.hint().unwrap(), format!("Run `chmod 700 {}`", folder.path().display()));
    assert!(!folder.path().join("state.db").exists());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (_folder, path) = with_a_run().await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(error.hint().unwrap().contains("newer fedi"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    Connection::open(&path).unwrap().execute("CREATE TABLE theirs (x)", []).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let garbage = vec![0x5a; 20_000];
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).unwrap();
    fs::write(&path, &garbage).unwrap();
    let told = damaged(SqliteStore::open(&path));
    assert!(told.contains(&path.display().to_string()), "{told}");
    assert_eq!(fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_database_cut_short_is_refused_and_left_alone() {
    let (_folder, path) = with_a_run().await;
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    match SqliteStore::open(&path) {
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
        Ok(store) => {
            assert!(!store.examine().await.unwrap_or_else(|error| vec![error.to_string()]).is_empty());
            damaged(store.records(RunId(1)).await);
        }
    }
    assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() / 2]);
}

#[tokio::test]
async fn a_damaged_event_is_named() {
    let tampering = [
        ("UPDATE event SET json = json || ' ' WHERE seq = 3", "event 3 of run 1"),
        ("UPDATE event SET at = '2026-01-01T00:00:07Z' WHERE seq = 4", "event 4 of run 1"),
        ("UPDATE event SET sum = zeroblob(32) WHERE seq = 5", "event 5 of run 1"),
        ("DELETE FROM event WHERE seq = 6", "event 6 of run 1"),
        ("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)", "the journal of run 1"),
        ("UPDATE run SET events = events - 1", "the journal of run 1"),
        ("UPDATE run SET head = zeroblob(32)", "the journal of run 1"),
    ];
    for (sql, name) in tampering {
        let (_folder, path) = with_a_run().await;
        tamper(&path, sql);
        let store = SqliteStore::open(&path).unwrap();
        let told = damaged(load(&store, RunId(1)).await);
        assert!(told.contains(name), "{sql}: {told}");
        let wrong = store.examine().await.unwrap();
        assert!(wrong.len() == 1 && wrong[0].contains(name), "{sql}: {wrong:?}");
    }
}

#[tokio::test]
async fn an_undamaged_database_is_found_so() {
    let (_folder, path) = with_a_run().await;
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.examine().await.unwrap(), [""; 0]);
    assert_eq!(load(&store, RunId(1)).await.unwrap().phase, RunPhase::Completed);
}

#[tokio::test]
async fn a_damaged_entry_of_the_ledger_is_named() {
    let (_folder, path) = with_a_run().await;
    tamper(&path, "UPDATE ledger SET json = replace(json, '9000', '9001') WHERE id = 'vm/matrix'");
    let store = SqliteStore::open(&path).unwrap();
    let told = damaged(store.ledger(None).await);
    assert!(told.contains("`vm/matrix`"), "{told}");
    // The journal still has it.
    let state = load(&store, RunId(1)).await.unwrap();
    assert!(state.step(&StepId::new("vm/matrix")).is_finished());
}
