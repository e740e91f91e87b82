//! The process is really killed, by SIGKILL, at every journal append, and another one
//! takes over from there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, StepContext};
use fedi_engine::store::{RunStore, SqliteStore, Store, StoreError};
use fedi_engine::{Engine, EngineError, EngineOptions, Outcome, SystemClock, Unobserved, World};
use fedi_model::plan::Task;
use fedi_model::resource::Resource;
use fedi_test::sample::Sample;
use fedi_test::{CrashAt, CrashingStore, MapWorld, child};

fn store(folder: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap())
}

fn world(folder: &Path) -> Arc<MapWorld> {
    Arc::new(MapWorld::in_file(&folder.join("world.json")))
}

fn engine(store: Arc<dyn Store>, world: Arc<dyn World>) -> Engine {
    Engine::new(store, world, Arc::new(SystemClock), Arc::new(Unobserved))
        .with_options(EngineOptions { concurrency: 1, ..EngineOptions::default() })
}

fn resources(world: &MapWorld) -> BTreeMap<String, String> {
    let mut all = world.snapshot();
    all.retain(|_, content| content != "done");
    all
}

/// The child: deploys in the folder of its argument and dies at the append it is told.
#[tokio::test]
async fn deploying_child() {
    let Some(argument) = child::argument() else { return };
    let (folder, at) = argument.split_once(' ').unwrap();
    let at = match at.split_once(' ').unwrap() {
        ("before", number) => CrashAt::Before(number.parse().unwrap()),
        ("after", number) => CrashAt::After(number.parse().unwrap()),
        other => panic!("{other:?}"),
    };
    let (folder, sample) = (Path::new(folder), Sample::new("matrix"));
    let world = world(folder);
    let plan = sample.deploy(world.as_ref()).await;
    let store = Arc::new(CrashingStore::killing(store(folder), at));
    engine(store, world).start(&plan).await.unwrap();
}

#[tokio::test]
async fn killed_at_every_append_and_resumed() {
    if child::argument().is_some() {
        return;
    }
    let sample = Sample::new("matrix");
    let folder = fedi_test::folder();
    let undisturbed = world(folder.path());
    let plan = sample.deploy(undisturbed.as_ref()).await;
    assert_eq!(engine(store(folder.path()), undisturbed.clone()).start(&plan).await.unwrap().exit_code(), 0);
    let goal = resources(&undisturbed);

    for number in 1.. {
        for moment in ["before", "after"] {
            let folder = fedi_test::folder();
            let argument = format!("{} {moment} {number}", folder.path().display());
            let output = child::command("deploying_child", &argument).output().unwrap();
            if output.status.success() {
                assert!(number > 2 * plan.steps().count(), "it was killed {number} times only");
                return;
            }
            assert_eq!(output.status.signal(), Some(9), "{argument}: {output:?}");
            // Its lease is still there; the process that held it is gone, and that is seen.
            let (store, world) = (store(folder.path()), world(folder.path()));
            let open = store.open_runs().await.unwrap();
            let engine = engine(store, world.clone());
            let outcome = match open.first() {
                Some(run) => engine.resume(run.id).await.unwrap(),
                None => engine.start(&sample.deploy(world.as_ref()).await).await.unwrap(),
            };
            assert!(matches!(outcome, Outcome::Completed { .. } | Outcome::NothingToDo), "{argument}: {outcome:?}");
            assert_eq!(resources(&world), goal, "{argument}");
            assert!(sample.deploy(world.as_ref()).await.is_empty(), "{argument}");
        }
    }
}

/// A world that never answers.
struct Silent;

#[async_trait]
impl World for Silent {
    async fn observe(&self, _: &Resource) -> Result<Option<Resource>, DriverError> {
        println!("at work");
        std::future::pending().await
    }
    async fn ensure(&self, _: &Resource, _: &dyn StepContext) -> Result<Resource, DriverError> {
        std::future::pending().await
    }
    async fn remove(&self, _: &Resource, _: &dyn StepContext) -> Result<(), DriverError> {
        std::future::pending().await
    }
    async fn run(&self, _: &Task, _: &dyn StepContext) -> Result<(), DriverError> {
        std::future::pending().await
    }
}

/// The child: begins a deploy that never gets on.
#[tokio::test]
async fn hanging_child() {
    let Some(folder) = child::argument() else { return };
    let plan = Sample::new("matrix").deploy(&MapWorld::default()).await;
    engine(store(Path::new(&folder)), Arc::new(Silent)).start(&plan).await.unwrap();
}

#[tokio::test]
async fn two_at_once() {
    if child::argument().is_some() {
        return;
    }
    let folder = fedi_test::folder();
    let mut other =
        child::command("hanging_child", &folder.path().display().to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("at work")));

    let (store, world) = (store(folder.path()), world(folder.path()));
    let engine = engine(store.clone(), world.clone());
    let plan = Sample::new("peertube").deploy(world.as_ref()).await;
    let error = engine.start(&plan).await.unwrap_err();
    assert!(matches!(error, EngineError::Store(StoreError::Held(_))), "{error}");
    assert!(error.to_string().contains(&format!("(pid {})", other.id())), "{error}");
    assert_eq!(error.exit_code(), 5);
    let run = store.open_runs().await.unwrap()[0].id;
    assert_eq!(engine.resume(run).await.unwrap_err().exit_code(), 5);

    other.kill().unwrap();
    other.wait().unwrap();
    let outcome = engine.resume(run).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert_eq!(engine.start(&plan).await.unwrap().exit_code(), 0);
}
