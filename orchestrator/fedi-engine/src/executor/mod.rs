//! Carries a run's steps out and takes them back.
//!
//! Forward: stages one after the other, the steps of a stage together, at most
//! [`EngineOptions::concurrency`] at once. For each step: look at the resource, make
//! the intent durable (`started`, with what was there), have the effect, make the
//! outcome durable (`finished`, with what is there now). A driver's verbs are
//! idempotent, so a step whose outcome is unknown is simply carried out again; nothing
//! is skipped because it looks done, for only the driver can tell "there" from "whole".
//!
//! A failure of kind [`DriverErrorKind::Unavailable`] is tried again a few times within
//! [`EngineOptions::patience`], on either side of the pivot, forward and backward alike;
//! each try is in the journal. What remains a failure stops the other steps of the stage, and then
//!
//! - before the pivot the run unwinds: every begun step is taken back, the last first,
//!   by what [`RunState::undo`](fedi_model::run::RunState::undo) derives;
//! - after the pivot it pauses;
//! - where all that failed is a probe that found the application unhealthy, and nothing
//!   else is left to do, the run completes, marked unhealthy. A paused run would stand
//!   in the way of the changed deployment that heals it; `fedi status` looks again.
//!
//! An operator's interrupt pauses, on whichever side: nothing new is begun, and steps
//! that wait give up. A step that cannot be taken back pauses the unwinding there, since
//! what stands before it may be needed by it still.

mod backward;
mod context;
mod forward;
mod journal;
mod leave;
mod stop;
mod turns;
mod writer;

pub(crate) use journal::{Cut, Journal};
pub(crate) use stop::Stop;
pub(crate) use turns::Turns;
pub(crate) use writer::{Writer, Writers};

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use fedi_model::event::Event;
use fedi_model::plan::Step;
use fedi_model::resource::Resource;
use fedi_model::run::Failure;
use futures::FutureExt;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::drivers::{DriverError, DriverErrorKind};
use crate::engine::EngineOptions;
use crate::world::World;

/// One run being carried out.
pub(crate) struct Executor<'a> {
    pub(crate) world: &'a dyn World,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) journal: &'a Journal<'a>,
    pub(crate) turns: &'a Turns,
    pub(crate) stop: Stop,
    pub(crate) options: &'a EngineOptions,
}

/// Whether a failed try is followed by another.
enum Next {
    Again,
    GiveUp(Failure),
}

/// The tries of a step so far.
struct Tries {
    failed: u32,
    begun: Timestamp,
}

impl Executor<'_> {
    /// Begins to count the tries of a step.
    fn tries(&self) -> Tries {
        Tries { failed: 0, begun: self.clock.now() }
    }

    /// After a failed try: waits and says to try again, or gives up.
    async fn after_failure(&self, step: &Step, tries: &mut Tries, error: DriverError) -> Next {
        tries.failed += 1;
        let passed = self.clock.now().duration_since(tries.begun).unsigned_abs();
        let again = error.kind == DriverErrorKind::Unavailable
            && tries.failed <= self.options.retries
            && passed < self.options.patience;
        let failure = Failure::from(error);
        if !again || self.stop.is_requested() {
            return Next::GiveUp(failure);
        }
        let wait = self.options.backoff.saturating_mul(1 << (tries.failed - 1).min(16));
        let told = Event::StepRetrying { step: step.id.clone(), failure: failure.clone(), wait_s: wait.as_secs() };
        self.journal.tell(told);
        if self.wait(wait).await { Next::Again } else { Next::GiveUp(failure) }
    }

    /// Lets time pass; `false` when the run is to stop instead.
    async fn wait(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.stop.requested() => false,
            () = self.clock.sleep(duration) => true,
        }
    }
}

/// What was there is gone, and made anew it would be another one: an empty disk in the
/// place of a full one, a new key in the place of a known one.
fn gone(step: &Step, resource: &Resource) -> DriverError {
    DriverError::new(DriverErrorKind::Drift, format!("Failed at `{}`", step.title))
        .cause(format!("`{}` is gone, and what it held cannot be made again", resource.id()))
}

/// Carries a driver's work out; its panic is a failure like any other. What it says
/// stays out of the journal, for nobody knows what is in it.
async fn guarded<T>(step: &Step, work: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        Err(DriverError::new(DriverErrorKind::Failed, format!("Failed at `{}`", step.title))
            .cause("The driver panicked: a mistake in fedi")
            .hint("Please report what fedi printed on stderr"))
    })
}
