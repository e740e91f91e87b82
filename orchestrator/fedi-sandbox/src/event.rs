//! What `up` and `down` tell while they work.

use std::fmt;
use std::time::Duration;

/// A step of bringing a sandbox up or down; a front end draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins: `Starting PowerDNS`.
    Started(String),
    /// The step is done.
    Finished {
        /// As in [`Event::Started`].
        step: String,
        /// How long it took.
        took: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(step) => f.write_str(step),
            Self::Finished { step, took } => write!(f, "{step} ({:.1} s)", took.as_secs_f64()),
        }
    }
}
