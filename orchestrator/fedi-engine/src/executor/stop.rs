//! Why a run should begin nothing new.

use crate::interrupt::Interrupt;

/// Why a run should begin nothing new.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// The operator wants it.
    pub(crate) operator: Interrupt,
    /// Somebody else has the writer lease.
    pub(crate) lost: Interrupt,
    /// A step of this run failed for good, or the journal did.
    pub(crate) halt: Interrupt,
}

impl Stop {
    pub(crate) fn is_requested(&self) -> bool {
        [&self.operator, &self.lost, &self.halt].iter().any(|wish| wish.is_requested())
    }

    pub(crate) async fn requested(&self) {
        tokio::select! {
            () = self.operator.requested() => {}
            () = self.lost.requested() => {}
            () = self.halt.requested() => {}
        }
    }
}
