//! What the engine does when things go wrong, and when they do not.
#![allow(clippy::unwrap_used)]

mod abandon;
mod addresses;
mod concurrency;
mod failing;
mod going_on;
mod ownership;
mod reports;
mod store_failing;

use std::sync::Arc;

use fedi_engine::drivers::DriverErrorKind::{self, Denied, Failed, Foreign, Unavailable, Unhealthy};
use fedi_engine::{Engine, EngineError, Outcome, World, load};
use fedi_model::event::Event;
use fedi_model::plan::{Plan, SCHEMA, Stage, Workflow};
use fedi_model::resource::Resource;
use fedi_model::run::{Direction, Failure, FailureKind, RunEvent, RunId, RunPhase, RunState, StepState};
use fedi_test::sample::{Sample, ensure, pivot, remove, run, stage};
use fedi_test::{FaultyWorld, MapWorld, Moment, TestContext, Verb};

/// The sample deployment, a world that can fail, and an engine that carries out one
/// step at a time.
struct Bench {
    context: TestContext,
    sample: Sample,
    map: Arc<MapWorld>,
    world: Arc<FaultyWorld>,
    engine: Engine,
}

impl Bench {
    fn new() -> Self {
        let (context, map) = (TestContext::new(), Arc::new(MapWorld::default()));
        let world = Arc::new(FaultyWorld::new(map.clone()));
        let engine = context.engine(world.clone());
        Self { context, sample: Sample::new("matrix"), map, world, engine }
    }

    /// A plan of these stages.
    fn plan(&self, stages: Vec<Stage>) -> Plan {
        Plan {
            schema: SCHEMA,
            workflow: Workflow::Deploy,
            deployment: self.sample.deployment.clone(),
            host: self.sample.host.clone(),
            stages,
            notes: Vec::new(),
        }
    }

    /// Address, then records, then a probe.
    fn short(&self) -> Plan {
        self.plan(vec![
            stage("address", vec![ensure(self.sample.address(), None)]),
            stage("names", vec![ensure(self.sample.records(), None)]),
            stage("health", vec![run(self.sample.probe())]),
        ])
    }

    /// The same with a pivot after the address.
    fn pivoting(&self) -> Plan {
        let mut plan = self.short();
        plan.stages.insert(1, stage("pivot", vec![pivot()]));
        plan
    }

    fn fail(&self, verb: Verb, name: &str, kind: DriverErrorKind) {
        self.world.fail(verb, name, 1, Moment::Before, kind);
    }

    async fn start(&self, plan: &Plan) -> Outcome {
        self.engine.start(plan).await.unwrap()
    }

    async fn state(&self, run: RunId) -> RunState {
        load(self.context.store.as_ref(), run).await.unwrap()
    }

    /// The names of the journal's events.
    async fn journal(&self, run: RunId) -> Vec<String> {
        let records = self.context.store.records(run).await.unwrap();
        let name = |event: &RunEvent| match event.step() {
            Some(step) => format!("{} {step}", event.name()),
            None => event.name().to_owned(),
        };
        records.iter().map(|record| name(&record.event)).filter(|name| !name.starts_with("noted")).collect()
    }

    async fn owned(&self) -> Vec<String> {
        let ledger = self.context.store.ledger(None).await.unwrap();
        ledger.iter().map(|entry| entry.resource.id().to_string()).collect()
    }
}

/// Drives `run`; once the world was called so, does `then` beside it. Ends with `run`,
/// also where that call never comes.
async fn meanwhile<T>(
    world: &FaultyWorld,
    (verb, name): (Verb, &str),
    run: impl Future<Output = T>,
    then: impl Future<Output = ()>,
) -> T {
    tokio::pin!(run);
    while world.count(verb, name) == 0 {
        tokio::select! {
            biased;
            result = &mut run => return result,
            () = tokio::task::yield_now() => {}
        }
    }
    tokio::join!(run, then).0
}

const ADDRESS: &str = "address/matrix/ipv4";
const RECORDS: &str = "records/matrix/example.test";
const PROBE: &str = "probe/matrix";
