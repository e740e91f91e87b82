//! Random plans in random worlds, with random faults, interrupts and crashes, taken up
//! again in random ways: in the end the world is as wanted or as before, and fedi owns
//! what it made and nothing else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use fedi_engine::drivers::DriverErrorKind;
use fedi_engine::store::{RunStore, SqliteStore};
use fedi_engine::{Engine, EngineError, EngineOptions, Unobserved, World, load};
use fedi_model::plan::{Action, Plan, SCHEMA, Stage, Workflow};
use fedi_model::resource::{Resource, ResourceId};
use fedi_model::run::{RunPhase, RunState, holds_data};
use fedi_test::sample::{Sample, ensure, pivot, remove, run, stage};
use fedi_test::{CrashAt, CrashingStore, Fault, FaultyWorld, MapWorld, Moment, TestClock, dead_holder};
use proptest::prelude::*;

/// What becomes of a thing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    Make,
    Remove,
    Leave,
}

/// What happens to a run that stopped.
#[derive(Debug, Clone, Copy)]
enum Then {
    Resume,
    Undo,
    Abandon,
}

#[derive(Debug, Clone)]
struct Case {
    /// For each thing: whether it is there (as wanted, or otherwise), what becomes of it,
    /// and in which stage.
    things: Vec<(Option<bool>, Wish, usize)>,
    /// Before which stage the pivot stands.
    pivot: Option<usize>,
    probes: bool,
    faults: Vec<Fault>,
    crash: CrashAt,
    interrupt: bool,
    concurrency: usize,
    then: Vec<Then>,
}

fn things(as_wanted: bool) -> Vec<Resource> {
    let mut sample = Sample::new("matrix");
    sample.memory_mib = if as_wanted { 2048 } else { 1024 };
    let mut all = vec![
        sample.address(),
        sample.secret("one"),
        sample.secret("two"),
        sample.image(),
        sample.vm(),
        sample.host_key(),
        sample.records(),
        sample.delivery(),
        sample.lease(),
        sample.system(),
    ];
    if !as_wanted {
        for thing in &mut all {
            match thing {
                Resource::Address(it) => it.quarantine_hours = 1,
                Resource::Secret(it) => it.version = Some(7),
                Resource::Image(it) => it.bytes = None,
                Resource::HostKey(it) => it.key = Some("ssh-ed25519 OLD".to_owned()),
                Resource::Records(it) => it.sets[0].ttl = 5,
                Resource::Lease(it) => it.epoch = 0,
                Resource::System(it) => "/nix/store/old".clone_into(&mut it.toplevel),
                Resource::Delivery(it) => it.files.clear(),
                Resource::Vm(_) | Resource::State(_) | Resource::Service(_) | Resource::Backups(_) => {}
            }
        }
    }
    all
}

impl Case {
    fn world(&self) -> MapWorld {
        let (wanted, other) = (things(true), things(false));
        let there = self.things.iter().enumerate().filter_map(|(number, (there, ..))| {
            there.map(|as_wanted| if as_wanted { wanted[number].clone() } else { other[number].clone() })
        });
        let mut there: Vec<Resource> = there.collect();
        // Nothing lives on a machine that is not there.
        let vm = Sample::new("matrix").vm();
        if there.iter().all(|thing| thing.id() != vm.id()) {
            there.retain(|thing| !vm.takes_along().contains(&thing.id()));
        }
        MapWorld::holding(there)
    }

    async fn plan(&self, world: &MapWorld) -> Plan {
        let mut stages: BTreeMap<usize, Stage> = BTreeMap::new();
        let may_destroy = |number: usize| self.pivot.is_some_and(|pivot| number >= pivot);
        for ((_, wish, number), thing) in self.things.iter().zip(things(true)) {
            let observed = world.observe(&thing).await.unwrap();
            let step = match (wish, observed) {
                (Wish::Make, observed) => ensure(thing, observed),
                // A machine that goes takes others along: no plan makes these before.
                (Wish::Remove, Some(Resource::Vm(_))) => continue,
                (Wish::Remove, Some(observed)) if may_destroy(*number) || !holds_data(&thing) => remove(observed),
                _ => continue,
            };
            stages.entry(*number).or_insert_with(|| stage(&number.to_string(), Vec::new())).steps.push(step);
        }
        let mut ordered = Vec::new();
        for number in 0..6 {
            if self.pivot == Some(number) {
                ordered.push(stage("pivot", vec![pivot()]));
            }
            ordered.extend(stages.remove(&number));
        }
        if self.probes {
            ordered.push(stage("health", vec![run(Sample::new("matrix").probe())]));
        }
        let sample = Sample::new("matrix");
        Plan {
            schema: SCHEMA,
            workflow: Workflow::Deploy,
            deployment: sample.deployment,
            host: sample.host,
            stages: ordered,
            notes: Vec::new(),
        }
    }
}

fn any_kind() -> impl Strategy<Value = DriverErrorKind> {
    use DriverErrorKind::{Denied, Drift, Exhausted, Failed, Foreign, Interrupted, Unavailable, Unhealthy};
    prop::sample::select(vec![
        Unavailable,
        Unavailable,
        Denied,
        Foreign,
        Drift,
        Exhausted,
        Unhealthy,
        Interrupted,
        Failed,
    ])
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let moment = prop::sample::select(vec![Moment::Before, Moment::After, Moment::Panic]);
    (0..40_usize, 1..5_usize, moment, any_kind()).prop_map(|(call, times, moment, kind)| Fault {
        call,
        times,
        moment,
        kind,
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    let wish = prop::sample::select(vec![Wish::Make, Wish::Make, Wish::Make, Wish::Remove, Wish::Leave]);
    let thing = (prop::option::of(any::<bool>()), wish, 0..6_usize);
    let crash = prop_oneof![
        2 => Just(CrashAt::Never),
        1 => (1..50_u64).prop_map(CrashAt::Before),
        1 => (1..50_u64).prop_map(CrashAt::After),
    ];
    let then = prop::sample::select(vec![Then::Resume, Then::Resume, Then::Undo, Then::Abandon]);
    (
        prop::collection::vec(thing, things(true).len()),
        prop::option::of(0..6_usize),
        any::<bool>(),
        prop::collection::vec(any_fault(), 0..5),
        crash,
        prop::bool::weighted(0.2),
        prop::sample::select(vec![1_usize, 4]),
        prop::collection::vec(then, 0..5),
    )
        .prop_map(|(things, pivot, probes, faults, crash, interrupt, concurrency, then)| Case {
            things,
            pivot,
            probes,
            faults,
            crash,
            interrupt,
            concurrency,
            then,
        })
}

/// Carries a case out to the run's end.
async fn carry_out(case: &Case) -> Option<(MapView, RunState, MapView, Vec<Resource>)> {
    let folder = fedi_test::folder();
    let store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let map = Arc::new(case.world());
    let before = view(&map);
    let plan = case.plan(&map).await;
    if plan.is_empty() {
        return None;
    }
    let world = Arc::new(FaultyWorld::new(map.clone()));
    for fault in &case.faults {
        world.inject(*fault);
    }
    let options = EngineOptions { concurrency: case.concurrency, ..EngineOptions::default() };
    let engine = |store: Arc<dyn fedi_engine::store::Store>| {
        Engine::new(store, world.clone(), Arc::new(TestClock::default()), Arc::new(Unobserved))
            .with_options(options.clone())
            .with_holder(dead_holder())
    };
    let crashing = Arc::new(CrashingStore::new(store.clone(), case.crash));
    let first = engine(crashing.clone());
    if case.interrupt {
        first.interrupt().request();
    }
    tokio::select! {
        outcome = first.start(&plan) => drop(outcome.unwrap()),
        () = crashing.crashed() => {}
    }
    drop(first);
    for then in &case.then {
        let Some(open) = store.open_runs().await.unwrap().first().map(|open| open.id) else { break };
        let engine = engine(store.clone());
        let result = match then {
            Then::Resume => engine.resume(open).await,
            Then::Undo => engine.undo(open).await,
            Then::Abandon => {
                // What cannot be looked at stays unclear, so it can be here.
                world.heal();
                engine.abandon(open).await
            }
        };
        assert!(matches!(result, Ok(_) | Err(EngineError::PastPivot { .. })), "{result:?}");
    }
    world.heal();
    while let Some(open) = store.open_runs().await.unwrap().first() {
        engine(store.clone()).resume(open.id).await.unwrap();
    }
    assert_eq!(store.examine().await.unwrap(), [""; 0]);
    let run = store.runs().await.unwrap().first()?.id;
    let owned = fedi_engine::store::LedgerStore::ledger(store.as_ref(), None).await.unwrap();
    let owned = owned.into_iter().map(|entry| entry.resource).collect();
    Some((before, load(store.as_ref(), run).await.unwrap(), view(&map), owned))
}

type MapView = BTreeMap<ResourceId, Resource>;

fn view(map: &MapWorld) -> MapView {
    things(true).iter().filter_map(|thing| map.get(&thing.id())).map(|thing| (thing.id(), thing)).collect()
}

fn is_image(id: &ResourceId) -> bool {
    id.kind() == "image"
}

proptest! {
    #[test]
    fn random_runs(case in any_case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some((before, state, after, owned)) = runtime.block_on(carry_out(&case)) else { return Ok(()) };
        let wanted: BTreeMap<ResourceId, Resource> = things(true).into_iter().map(|thing| (thing.id(), thing)).collect();
        match state.phase {
            RunPhase::Completed => {
                for step in state.plan.steps() {
                    match &step.action {
                        Action::Ensure { desired, .. } => {
                            let made = MapWorld::holding([wanted[&desired.id()].clone()]).get(&desired.id());
                            prop_assert_eq!(after.get(&desired.id()), made.as_ref());
                            prop_assert!(owned.iter().any(|it| Some(it) == made.as_ref()), "{} is owned", desired.id());
                        }
                        Action::Remove { resource } => {
                            prop_assert_eq!(after.get(&resource.id()), None);
                            prop_assert!(owned.iter().all(|it| it.id() != resource.id()));
                        }
                        Action::Run { .. } | Action::Pivot { .. } => {}
                    }
                }
            }
            RunPhase::Unwound => {
                let without_images = |view: &MapView| -> MapView {
                    view.iter().filter(|(id, _)| !is_image(id)).map(|(id, it)| (id.clone(), it.clone())).collect()
                };
                prop_assert_eq!(without_images(&after), without_images(&before));
                prop_assert!(owned.iter().all(|it| is_image(&it.id())), "{owned:?}");
            }
            RunPhase::Abandoned => {
                // What became otherwise is owned as it is; what did not is not, unless a
                // step was done that had nothing to change. An image is nobody's: an undo
                // leaves it, and whoever needs it next finds it.
                for (id, thing) in &after {
                    if before.get(id) != Some(thing) && !is_image(id) {
                        prop_assert!(owned.contains(thing), "{id} was made and is not owned");
                    }
                }
                for it in &owned {
                    prop_assert_eq!(after.get(&it.id()), Some(it), "owned, and not there");
                }
            }
            phase => prop_assert!(false, "the run is {phase}"),
        }
    }
}
