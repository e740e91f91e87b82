//! What every store must do, whatever it stands on.
//!
//! [`store_conformance!`](crate::store_conformance) makes one test of each; it is given
//! a closure that makes a fresh [`StoreBed`].

pub mod addresses;
pub mod lease;
pub mod ledger;
pub mod runs;
pub mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::store::{Append, Fence, Holder, Store, StoreError};
use fedi_model::plan::{Plan, SCHEMA, Step, Workflow};
use fedi_model::run::{RunEvent, RunId, RunRecord, RunState};
use jiff::Timestamp;
use uuid::Uuid;

use crate::sample::{Sample, stage};

/// A place where a store keeps what it keeps.
#[async_trait]
pub trait StoreBed: Send + Sync {
    /// Another way into the same place, as another process has it.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each thing that a store must do. `$make` is a closure that makes a
/// fresh [`StoreBed`](crate::store_suite::StoreBed).
#[macro_export]
macro_rules! store_conformance {
    ($make:expr) => {
        $crate::store_conformance!(@ $make, runs: [
            begins_runs, appends_in_order, refuses_without_the_lease, one_open_run_a_deployment, lists_runs,
            keeps_every_event, appends_of_many_runs_at_once,
            reads_while_another_writes
        ]);
        $crate::store_conformance!(@ $make, ledger: [
            holds_what_was_made, reverts_to_what_was_before, forgets_what_is_gone, tells_deployments_apart,
            settles_when_a_run_is_over, a_vm_takes_its_guest_along
        ]);
        $crate::store_conformance!(@ $make, lease: [
            has_one_holder, fences_grow, a_dead_holder_is_followed, the_holder_may_take_it_again,
            of_many_at_once_one_wins
        ]);
        $crate::store_conformance!(@ $make, addresses: [
            the_same_request_gets_the_same, peeking_holds_nothing, gives_the_lowest, rests_before_re_use, its_last_holder_comes_back,
            says_how_many_are_left, a_pool_that_is_gone, holds_exactly, release_is_idempotent, both_families,
            huge_pools_are_quick, of_many_at_once_each_gets_its_own
        ]);
        $crate::store_conformance!(@ $make, settings: [keeps_values, of_many_that_choose_one_wins]);
    };
    (@ $make:expr, $part:ident: [$($test:ident),*]) => {
        mod $part {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $test() {
                    $crate::store_suite::$part::$test(($make)().await).await;
                }
            )*
        }
    };
}

/// The time at which tests begin.
pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A holder of its own.
pub(crate) fn holder(user: &str) -> Holder {
    Holder {
        user: user.to_owned(),
        machine: "testing".to_owned(),
        pid: 4711,
        process_start: 1,
        place: String::new(),
        instance: Uuid::new_v4(),
    }
}

/// Takes the lease.
pub(crate) async fn writer(store: &dyn Store) -> Fence {
    store.acquire(&holder("writer"), start(), None).await.unwrap()
}

pub(crate) fn plan_of(deployment: &str, steps: Vec<Step>) -> Plan {
    let sample = Sample::new(deployment);
    Plan {
        schema: SCHEMA,
        workflow: Workflow::Deploy,
        deployment: sample.deployment,
        host: sample.host,
        stages: vec![stage("all", steps)],
        notes: Vec::new(),
    }
}

/// A run being journaled the way an engine does it.
pub(crate) struct Journal<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) fence: Fence,
    pub(crate) state: RunState,
}

impl<'a> Journal<'a> {
    pub(crate) async fn begin(store: &'a dyn Store, fence: Fence, plan: &Plan) -> Result<Self, StoreError> {
        let run = store.create_run(fence, plan, start()).await?;
        Ok(Self { store, fence, state: load(store, run).await })
    }

    pub(crate) async fn append(&mut self, event: RunEvent) -> Result<(), StoreError> {
        let record = RunRecord { seq: self.state.events, at: start(), event };
        self.append_record(record).await
    }

    pub(crate) async fn append_record(&mut self, record: RunRecord) -> Result<(), StoreError> {
        let ledger = self.state.ledger_change(&record.event);
        let mut next = self.state.clone();
        next.apply(&record).unwrap();
        let (fence, run, phase) = (self.fence, self.state.id, next.phase);
        self.store.append(Append { fence, run, record: &record, phase, ledger: &ledger }).await?;
        self.state = next;
        Ok(())
    }

    pub(crate) async fn all(&mut self, events: impl IntoIterator<Item = RunEvent>) {
        for event in events {
            self.append(event).await.unwrap();
        }
    }
}

pub(crate) async fn load(store: &dyn Store, run: RunId) -> RunState {
    RunState::fold(run, &store.records(run).await.unwrap()).unwrap()
}
