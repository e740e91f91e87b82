//! How long a task will take, from how long such tasks took before.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations of one kind that are kept.
const KEPT: usize = 9;

/// How long something will take, and how wrong that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    pub typical: Duration,
    /// Half of the time in which the end is expected: `typical` give or take this.
    pub spread: Duration,
}

impl Estimate {
    /// From one time that was measured.
    pub fn about(typical: Duration) -> Self {
        Self { typical, spread: least_spread(typical) }
    }
}

/// What took how long, by a name of the caller's choice such as `import local-lvm 3f2a`. The caller keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History(BTreeMap<String, Vec<Duration>>);

impl History {
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers that `what` took this long; the oldest is forgotten.
    pub fn add(&mut self, what: &str, took: Duration) {
        let kept = self.0.entry(what.to_owned()).or_default();
        kept.push(took);
        if kept.len() > KEPT {
            kept.remove(0);
        }
    }

    /// The median of what is remembered, and how far the others lie from it.
    pub fn estimate(&self, what: &str) -> Option<Estimate> {
        let mut times = self.0.get(what)?.clone();
        let typical = median(&mut times)?;
        let mut distances: Vec<Duration> = times.iter().map(|time| time.abs_diff(typical)).collect();
        let distance = median(&mut distances)?;
        Some(Estimate { typical, spread: distance.mul_f64(2.0).max(least_spread(typical)) })
    }
}

/// One in a hundred, and what a busy node and network add.
fn least_spread(typical: Duration) -> Duration {
    typical / 100 + Duration::from_millis(50)
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn the_median_is_typical_and_an_outlier_does_not_matter() {
        let mut history = History::new();
        assert_eq!(history.estimate("import"), None);
        history.add("import", ms(20_000));
        assert_eq!(history.estimate("import"), Some(Estimate { typical: ms(20_000), spread: ms(250) }));
        for time in [20_100, 19_900, 90_000, 20_000] {
            history.add("import", ms(time));
        }
        assert_eq!(history.estimate("import").unwrap().typical, ms(20_000));
        assert!(history.estimate("import").unwrap().spread < ms(400));
        assert_eq!(history.estimate("clone"), None);
    }

    #[test]
    fn only_the_last_ones_are_kept() {
        let mut history = History::new();
        (0..20).for_each(|_| history.add("import", ms(1000)));
        (0..9).for_each(|_| history.add("import", ms(5000)));
        assert_eq!(history.estimate("import").unwrap().typical, ms(5000));
    }
}
