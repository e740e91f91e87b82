//! The journal of one run while it goes on: the fold in memory and the store below.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fedi_model::event::{self, Event, EventLine};
use fedi_model::run::{RunEvent, RunRecord, RunState};

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::observer::Observer;
use crate::store::{Append, Fence, Store, StoreError};

/// The journal failed; why is kept in it. Whoever sees this stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

/// The journal of one run while it goes on.
pub(crate) struct Journal<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    observer: &'a dyn Observer,
    fence: Fence,
    halt: Interrupt,
    /// Held while an event is on its way to the store, so that they keep their order.
    order: tokio::sync::Mutex<()>,
    state: Mutex<RunState>,
    cut: Mutex<Option<StoreError>>,
}

impl<'a> Journal<'a> {
    /// Goes on with `state`. `halt` is requested when the journal fails.
    pub(crate) fn new(
        store: &'a dyn Store,
        clock: &'a dyn Clock,
        observer: &'a dyn Observer,
        fence: Fence,
        state: RunState,
        halt: Interrupt,
    ) -> Self {
        Self {
            store,
            clock,
            observer,
            fence,
            halt,
            order: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            cut: Mutex::default(),
        }
    }

    /// The run as it stands.
    pub(crate) fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an event; durable when this returns.
    pub(crate) async fn append(&self, event: RunEvent) -> Result<(), Cut> {
        let _order = self.order.lock().await;
        if self.cut.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Err(Cut);
        }
        let (record, next, ledger) = {
            let state = self.state();
            let record = RunRecord { seq: state.events, at: self.clock.now(), event };
            let ledger = state.ledger_change(&record.event);
            let mut next = state.clone();
            if let Err(refused) = next.apply(&record) {
                drop(state);
                return Err(self.cut(StoreError::Refused(refused)));
            }
            (record, next, ledger)
        };
        let append = Append { fence: self.fence, run: next.id, record: &record, phase: next.phase, ledger: &ledger };
        match self.store.append(append).await {
            Ok(()) => {
                *self.state() = next;
                Ok(())
            }
            Err(error) => Err(self.cut(error)),
        }
    }

    /// Tells whoever watches.
    pub(crate) fn tell(&self, event: Event) {
        let run = self.state().id;
        self.observer.tell(&EventLine { schema: event::SCHEMA, at: self.clock.now(), run, event });
    }

    /// The state at the end, and why the journal failed if it did.
    pub(crate) fn into_end(self) -> (RunState, Option<StoreError>) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state, self.cut.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn cut(&self, error: StoreError) -> Cut {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.halt.request();
        Cut
    }
}
