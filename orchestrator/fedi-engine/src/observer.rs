//! Who watches a run.

use fedi_model::event::EventLine;

/// Is told what happens in a run, from several tasks. It should return at once: a run
/// waits for it.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn tell(&self, line: &EventLine);
}

impl<F: Fn(&EventLine) + Send + Sync> Observer for F {
    fn tell(&self, line: &EventLine) {
        self(line);
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn tell(&self, _: &EventLine) {}
}
