//! The engine: begins runs, takes them up again, takes them back, leaves them be.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedi_model::event::Event;
use fedi_model::plan::Plan;
use fedi_model::run::{Direction, RunEvent, RunId, RunState, check_plan};

use crate::clock::Clock;
use crate::executor::{Cut, Executor, Journal, Stop, Turns, Writer, Writers};
use crate::interrupt::Interrupt;
use crate::observer::Observer;
use crate::outcome::{EngineError, Outcome};
use crate::report::load;
use crate::store::{Holder, Store, StoreError};
use crate::world::World;

/// How an engine works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How many steps of a stage go on at once.
    pub concurrency: usize,
    /// How often a step is tried again when a system does not answer.
    pub retries: u32,
    /// How long to wait before it is tried again; doubled every time.
    pub backoff: Duration,
    /// How long after its first try a step is still tried again. A driver that has
    /// itself waited longer than this for an answer is not asked to wait once more.
    pub patience: Duration,
    /// How often the writer lease is renewed.
    pub heartbeat: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            retries: 2,
            backoff: Duration::from_secs(2),
            patience: Duration::from_secs(60),
            heartbeat: Duration::from_secs(10),
        }
    }
}

/// Carries plans out against a world and journals them in a store.
///
/// Several runs may go on at once, for different deployments; they share one writer
/// lease. A method's future may be dropped at any time: the run is then as if its process
/// had been killed, and can be resumed.
pub struct Engine {
    store: Arc<dyn Store>,
    world: Arc<dyn World>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    options: EngineOptions,
    holder: Holder,
    interrupt: Interrupt,
    writers: Writers,
    turns: Turns,
    driven: Mutex<BTreeSet<RunId>>,
}

/// What is wanted of a run that is taken up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    GoOn,
    GoBack,
    Leave,
}

impl Engine {
    /// An engine of this process.
    pub fn new(
        store: Arc<dyn Store>,
        world: Arc<dyn World>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            store,
            world,
            clock,
            observer,
            options: EngineOptions::default(),
            holder: Holder::current(),
            interrupt: Interrupt::default(),
            writers: Writers::default(),
            turns: Turns::default(),
            driven: Mutex::default(),
        }
    }

    /// With other options.
    #[must_use]
    pub fn with_options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// In the name of another holder.
    #[must_use]
    pub fn with_holder(mut self, holder: Holder) -> Self {
        self.holder = holder;
        self
    }

    /// What stops this engine's runs: they pause and can be resumed.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Carries a plan out. An empty one begins no run.
    pub async fn start(&self, plan: &Plan) -> Result<Outcome, EngineError> {
        check_plan(plan)?;
        if plan.is_empty() {
            return Ok(Outcome::NothingToDo);
        }
        let writer = self.writer().await?;
        let result = self.start_as(&writer, plan).await;
        self.writers.leave(self.store.as_ref(), writer).await;
        result
    }

    /// Goes on with a run in the direction it had: one that was cut off or paused.
    pub async fn resume(&self, run: RunId) -> Result<Outcome, EngineError> {
        self.take_up(run, Wish::GoOn).await
    }

    /// Takes an unfinished run back. Refused past its pivot.
    pub async fn undo(&self, run: RunId) -> Result<Outcome, EngineError> {
        self.take_up(run, Wish::GoBack).await
    }

    /// Ends an unfinished run where it stands. What it made stays, and stays known as
    /// fedi's where the world can be looked at.
    pub async fn abandon(&self, run: RunId) -> Result<Outcome, EngineError> {
        self.take_up(run, Wish::Leave).await
    }

    async fn writer(&self) -> Result<Arc<Writer>, StoreError> {
        self.writers.join(&self.store, &self.clock, &self.holder, self.options.heartbeat).await
    }

    async fn start_as(&self, writer: &Writer, plan: &Plan) -> Result<Outcome, EngineError> {
        let run = self.store.create_run(writer.fence, plan, self.clock.now()).await?;
        let state = load(self.store.as_ref(), run).await?;
        self.drive(writer, state, None).await
    }

    async fn take_up(&self, run: RunId, wish: Wish) -> Result<Outcome, EngineError> {
        may(&load(self.store.as_ref(), run).await?, wish)?;
        let writer = self.writer().await?;
        let result = self.take_up_as(&writer, run, wish).await;
        self.writers.leave(self.store.as_ref(), writer).await;
        result
    }

    async fn take_up_as(&self, writer: &Writer, run: RunId, wish: Wish) -> Result<Outcome, EngineError> {
        // Read again: it may have gone on until the lease was ours.
        let state = load(self.store.as_ref(), run).await?;
        may(&state, wish)?;
        self.drive(writer, state, Some(wish)).await
    }

    /// Drives a run until it stops. `wish` is `None` for a new one.
    async fn drive(&self, writer: &Writer, state: RunState, wish: Option<Wish>) -> Result<Outcome, EngineError> {
        let _driven = self.driven(state.id)?;
        let halt = Interrupt::default();
        let (store, clock) = (self.store.as_ref(), self.clock.as_ref());
        let journal = Journal::new(store, clock, self.observer.as_ref(), writer.fence, state, halt.clone());
        // Why it stopped is in the journal.
        let _ = self.drive_journal(writer, &journal, halt, wish).await;
        let phase = journal.state().phase;
        journal.tell(Event::RunStopped { phase });
        match journal.into_end() {
            (state, None) => Ok(Outcome::of(&state)),
            (state, Some(source)) => Err(EngineError::Cut { run: state.id, source }),
        }
    }

    async fn drive_journal(
        &self,
        writer: &Writer,
        journal: &Journal<'_>,
        halt: Interrupt,
        wish: Option<Wish>,
    ) -> Result<(), Cut> {
        if let Some(wish) = wish {
            journal.append(RunEvent::Resumed { holder: self.holder.to_string() }).await?;
            let direction = journal.state().direction;
            if wish == Wish::GoBack && direction == Direction::Forward {
                let reason = "The operator asked for it".to_owned();
                journal.append(RunEvent::Unwinding { reason, asked: true }).await?;
            }
        }
        journal.tell(started(journal));
        let executor = |halt: Interrupt| Executor {
            world: self.world.as_ref(),
            clock: self.clock.as_ref(),
            journal,
            turns: &self.turns,
            stop: Stop { operator: self.interrupt.clone(), lost: writer.lost.clone(), halt },
            options: &self.options,
        };
        if wish == Some(Wish::Leave) {
            return executor(halt).leave().await;
        }
        let direction = journal.state().direction;
        if direction == Direction::Forward {
            executor(halt.clone()).forward().await?;
        }
        let phase = journal.state().phase;
        if phase == fedi_model::run::RunPhase::Backward {
            // A failed step halted the way forward; the way back begins afresh.
            executor(Interrupt::default()).backward().await?;
        }
        Ok(())
    }

    /// Keeps a second task of this process off the run until the guard is dropped.
    fn driven(&self, run: RunId) -> Result<Driven<'_>, EngineError> {
        if self.driven.lock().unwrap_or_else(PoisonError::into_inner).insert(run) {
            Ok(Driven { all: &self.driven, run })
        } else {
            Err(EngineError::Driven { run })
        }
    }
}

/// A run that a task of this process works on.
struct Driven<'a> {
    all: &'a Mutex<BTreeSet<RunId>>,
    run: RunId,
}

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}

/// What is told when a run goes on.
fn started(journal: &Journal<'_>) -> Event {
    let state = journal.state();
    let steps = state.plan.steps().count();
    Event::RunStarted {
        workflow: state.plan.workflow,
        deployment: state.plan.deployment.clone(),
        host: state.plan.host.clone(),
        steps,
        finished: steps - state.unfinished().count(),
    }
}

/// Whether that can be wanted of the run as it stands.
fn may(state: &RunState, wish: Wish) -> Result<(), EngineError> {
    if state.phase.is_over() {
        return Err(EngineError::Over { run: state.id, phase: state.phase });
    }
    if wish == Wish::GoBack && state.pivoted {
        return Err(EngineError::PastPivot { run: state.id });
    }
    Ok(())
}
