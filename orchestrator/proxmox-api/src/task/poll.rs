//! When to ask whether a task has ended.
//!
//! Without an idea of its end: after 100 ms, then each time 1.6 times later, at last every 2 s. With an
//! [`Estimate`]: perhaps once early, as what goes wrong at all mostly does so at once; then not before the end may
//! come, closely while it is likely, and ever more rarely after that.

use std::time::Duration;

use super::estimate::Estimate;

const FIRST: Duration = Duration::from_millis(100);
const FACTOR: f64 = 1.6;
const LONGEST: Duration = Duration::from_secs(2);
/// Around the expected end: how close two questions are.
const CLOSEST: Duration = Duration::from_millis(100);
const CLOSE: Duration = Duration::from_millis(250);
/// Even a task whose end is far away is looked after this often.
const FAR: Duration = Duration::from_secs(30);
/// Answers take a moment too: the first question is for the end, not for just before it.
const AFTER: Duration = Duration::from_millis(40);

/// When to ask next.
#[derive(Clone, Debug)]
pub(crate) struct Polls {
    estimate: Option<Estimate>,
    early: Option<Duration>,
    next_pause: Duration,
}

impl Polls {
    pub(crate) fn new(estimate: Option<Estimate>, early: Option<Duration>) -> Self {
        Self { estimate, early, next_pause: FIRST }
    }

    /// How long to wait before the next question, at this time since the task's start. Jitter may be put on it.
    pub(crate) fn pause(&mut self, elapsed: Duration) -> Pause {
        let Some(Estimate { typical, spread }) = self.estimate else { return Pause::About(self.grow(LONGEST)) };
        let first = typical.saturating_sub(spread) + AFTER;
        if elapsed < first {
            if let Some(early) = self.early.take().filter(|early| *early < first / 2) {
                return Pause::About(early.saturating_sub(elapsed));
            }
            return Pause::Exactly(first.saturating_sub(elapsed).min(FAR));
        }
        let step = (spread / 2).clamp(CLOSEST, CLOSE);
        if elapsed < typical + spread {
            self.next_pause = step;
            return Pause::Exactly(step);
        }
        Pause::About(self.grow(LONGEST))
    }

    fn grow(&mut self, longest: Duration) -> Duration {
        let pause = self.next_pause.min(longest);
        self.next_pause = pause.mul_f64(FACTOR);
        pause
    }
}

/// A pause between two questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// With jitter, so that many waiters do not ask at once.
    About(Duration),
    Exactly(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    /// The times at which a task that ends at `end` is asked about.
    fn questions(estimate: Option<Estimate>, early: Option<Duration>, end: Duration) -> Vec<Duration> {
        let mut polls = Polls::new(estimate, early);
        let mut now = Duration::ZERO;
        let mut asked = Vec::new();
        while asked.last().is_none_or(|last| *last < end) {
            let (Pause::About(pause) | Pause::Exactly(pause)) = polls.pause(now);
            now += pause;
            asked.push(now);
        }
        asked
    }

    #[test]
    fn without_an_idea_questions_become_rarer() {
        let asked = questions(None, None, ms(9000));
        assert_eq!(asked[..4], [ms(100), ms(260), ms(516), Duration::from_micros(925_600)]);
        let last: Vec<Duration> = asked.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
        assert_eq!(*last.last().unwrap(), LONGEST);
    }

    #[test]
    fn a_known_import_costs_few_questions_and_is_noticed_at_once() {
        let estimate = Some(Estimate { typical: ms(20_000), spread: ms(250) });
        for end in (19_800..=20_300).step_by(10).map(ms) {
            let asked = questions(estimate, None, end);
            assert!(asked.len() <= 6, "{end:?}: {asked:?}");
            assert!(asked.last().unwrap().abs_diff(end) <= ms(160), "{end:?}: {asked:?}");
        }
    }

    #[test]
    fn an_early_failure_is_noticed_early() {
        let estimate = Some(Estimate { typical: ms(20_000), spread: ms(250) });
        assert_eq!(questions(estimate, Some(ms(1000)), ms(300)), [ms(1000)]);
        let quick = Some(Estimate { typical: ms(500), spread: ms(55) });
        assert_eq!(questions(quick, Some(ms(1000)), ms(500)).first(), Some(&ms(485)));
    }

    #[test]
    fn a_long_task_is_still_looked_after() {
        let estimate = Some(Estimate { typical: ms(600_000), spread: ms(6000) });
        assert_eq!(questions(estimate, None, ms(60_000)), [ms(30_000), ms(60_000)]);
    }

    #[test]
    fn a_wrong_estimate_ends_in_rare_questions() {
        let estimate = Some(Estimate { typical: ms(1000), spread: ms(60) });
        let asked = questions(estimate, None, ms(20_000));
        assert!(asked.len() < 22, "{}", asked.len());
    }
}
