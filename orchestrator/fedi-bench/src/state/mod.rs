//! What capturing and restoring state costs, against the plain tools. Ours is the public
//! interface of `fedi-state`, in a process of its own for every operation, so that its
//! memory can be told.

pub(crate) mod bucket;
pub(crate) mod data;
pub(crate) mod directory;
pub(crate) mod incremental;
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod server;
pub(crate) mod task;

use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use crate::alone::{Task, Took};
use crate::measurement::Measurement;
use task::StateTask;

/// The least that our speed should be of the plain tool's.
const LEAST: f64 = 0.8;
/// How often each side does the same.
const ROUNDS: usize = 2;

/// The largest peak of any process so far, MiB, and what it did.
static PEAK: Mutex<Option<(f64, String)>> = Mutex::new(None);

/// Does it in a process of its own; seconds.
fn ours(task: StateTask) -> Result<f64> {
    let what = task.name();
    // What earlier rounds wrote is not this one's burden.
    rustix::fs::sync();
    let Took { seconds, rss_mib } = Task::State(task).run()?;
    eprintln!("  {what}: {seconds:.2} s, {rss_mib:.0} MiB");
    let mut peak = PEAK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if peak.as_ref().is_none_or(|(before, _)| *before < rss_mib) {
        *peak = Some((rss_mib, what));
    }
    Ok(seconds)
}

/// Times a plain tool; seconds.
fn theirs(tool: &str, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    rustix::fs::sync();
    let begun = Instant::now();
    work()?;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("  {tool}: {seconds:.2} s");
    Ok(seconds)
}

/// The seconds of every round, ours and theirs.
#[derive(Default)]
struct Rounds {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Rounds {
    /// One round more. Who goes first changes, since what the first writes is in the
    /// second's way.
    fn add(&mut self, ours: impl FnOnce() -> Result<f64>, theirs: impl FnOnce() -> Result<f64>) -> Result<()> {
        if self.ours.len().is_multiple_of(2) {
            self.theirs.push(theirs()?);
            self.ours.push(ours()?);
        } else {
            self.ours.push(ours()?);
            self.theirs.push(theirs()?);
        }
        Ok(())
    }

    /// The best of each side, as the machine may have been busy.
    fn speed(&self, name: &str, tool: &str, target: Option<f64>) -> Measurement {
        Measurement::speed(name, best(&self.ours), best(&self.theirs), tool, target)
    }
}

fn best(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

pub(crate) const RSS: &str = "state.guest_rss_mb";
const MOST_MIB: f64 = 64.0;

/// The memory of the largest process of all that was measured in this run.
pub(crate) fn guest_rss() -> Option<Measurement> {
    let peak = PEAK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mib, what) = peak.as_ref()?;
    let note = format!("the most of all processes that used fedi-state: {what}; not the tools that they started");
    Some(Measurement::new(RSS, *mib, "MiB", Some(MOST_MIB)).noting(note))
}
