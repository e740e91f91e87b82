//! Several steps and several runs at once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, StepContext};
use fedi_engine::store::Holder;
use fedi_engine::{EngineOptions, SystemClock, Unobserved};
use fedi_model::plan::Task;
use fedi_model::resource::ResourceId;
use futures::future::join_all;

use crate::*;

/// Counts how many are in it at once, in all and by resource.
#[derive(Default)]
struct Crowded {
    map: MapWorld,
    now: Mutex<BTreeMap<ResourceId, usize>>,
    most: Mutex<usize>,
    clashed: Mutex<bool>,
}

#[async_trait]
impl World for Crowded {
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        self.map.observe(like).await
    }

    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError> {
        {
            let mut now = self.now.lock().unwrap();
            let here = now.entry(desired.id()).or_default();
            *here += 1;
            *self.clashed.lock().unwrap() |= *here > 1;
            let mut most = self.most.lock().unwrap();
            *most = (*most).max(now.values().sum());
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let made = self.map.ensure(desired, cx).await;
        *self.now.lock().unwrap().get_mut(&desired.id()).unwrap() -= 1;
        made
    }

    async fn remove(&self, resource: &Resource, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.map.remove(resource, cx).await
    }

    async fn run(&self, task: &Task, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.map.run(task, cx).await
    }
}

fn engine(context: &TestContext, world: Arc<dyn World>) -> Engine {
    Engine::new(context.store.clone(), world, Arc::new(SystemClock), Arc::new(Unobserved))
}

#[tokio::test]
async fn steps_of_a_stage_go_together_but_not_too_many() {
    let (context, world) = (TestContext::new(), Arc::new(Crowded::default()));
    let bench = Bench::new();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let steps = names.iter().map(|name| ensure(bench.sample.secret(name), None)).collect();
    let plan = bench.plan(vec![stage("secrets", steps)]);
    assert_eq!(engine(&context, world.clone()).start(&plan).await.unwrap().exit_code(), 0);
    assert_eq!(*world.most.lock().unwrap(), EngineOptions::default().concurrency);
}

#[tokio::test]
async fn runs_share_the_lease_and_take_turns_at_what_they_share() {
    let (context, world) = (TestContext::new(), Arc::new(Crowded::default()));
    let engine = engine(&context, world.clone());
    let mut plans = Vec::new();
    for number in 0..10 {
        plans.push(Sample::new(&format!("d{number}")).deploy(world.as_ref()).await);
    }
    let outcomes = join_all(plans.iter().map(|plan| engine.start(plan))).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().exit_code() == 0), "{outcomes:?}");
    assert!(!*world.clashed.lock().unwrap(), "two runs worked on one image at once");
    assert!(*world.most.lock().unwrap() > 4, "the runs went on one after the other");
    assert_eq!(context.store.lease().await.unwrap(), None, "the lease is given back");
}

#[tokio::test]
async fn a_failure_stops_the_others_of_its_stage() {
    let (context, map) = (TestContext::new(), Arc::new(MapWorld::default()));
    let world = Arc::new(FaultyWorld::new(map));
    let bench = Bench::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let steps = names.iter().map(|name| ensure(bench.sample.secret(name), None)).collect();
    let plan = bench.plan(vec![stage("secrets", steps)]);
    for name in ["a", "b", "d"] {
        world.fail(Verb::Ensure, &format!("secret/matrix/{name}"), 1, Moment::Hang, Failed);
    }
    world.fail(Verb::Ensure, "secret/matrix/c", 1, Moment::Before, Denied);
    let outcome = engine(&context, world.clone()).start(&plan).await.unwrap();
    let Outcome::Unwound { failure: Some(Failure { message, kind, .. }), .. } = outcome else { panic!("{outcome:?}") };
    // Those that waited gave up, and that is not told as the reason.
    assert_eq!((message.as_str(), kind), ("Failed to ensure `secret/matrix/c`", FailureKind::Permanent));
    assert_eq!(world.count(Verb::Ensure, "secret/matrix/e"), 0);
    assert_eq!(world.count(Verb::Remove, "secret/matrix/e"), 0);
    assert_eq!(world.count(Verb::Remove, "secret/matrix/a"), 1);
}

#[tokio::test]
async fn a_second_task_keeps_off_a_run() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let plan = bench.short();
    let outcome = meanwhile(&bench.world, (Verb::Ensure, RECORDS), bench.engine.start(&plan), async {
        let run = bench.context.store.open_runs().await.unwrap()[0].id;
        let error = bench.engine.resume(run).await.unwrap_err();
        assert!(matches!(error, EngineError::Driven { .. }), "{error}");
        assert_eq!(error.exit_code(), 5);
        bench.engine.interrupt().request();
    })
    .await;
    assert_eq!(outcome.unwrap().exit_code(), 4);
}

#[tokio::test]
async fn another_holder_is_respected_and_a_dead_one_followed() {
    let bench = Bench::new();
    let store = bench.context.store.clone();
    let now = fedi_engine::Clock::now(&bench.context.clock);
    let alive = Holder { instance: uuid::Uuid::new_v4(), ..Holder::current() };
    let fence = store.acquire(&alive, now, None).await.unwrap();
    let error = bench.engine.start(&bench.short()).await.unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(bench.world.calls().is_empty());
    store.release(fence).await.unwrap();

    store.acquire(&fedi_test::dead_holder(), now, None).await.unwrap();
    assert_eq!(bench.start(&bench.short()).await.exit_code(), 0);
}
