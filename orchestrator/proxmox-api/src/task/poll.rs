//! When to ask whether a task has ended.
//!
//! Without an idea of its end: after 100 ms, then each time 1.6 times later, at last every 2 s. With an
//! [`Estimate`]: first about when the end is expected, closely while it is likely, and ever more rarely after that.

use std::time::Duration;

use super::estimate::Estimate;

const FIRST: Duration = Duration::from_millis(100);
const FACTOR: f64 = 1.6;
const LONGEST: Duration = Duration::from_secs(2);
/// Around the expected end: how close two questions are.
const CLOSEST: Duration = Duration::from_millis(100);
const CLOSE: Duration = Duration::from_millis(200);
/// Even a task whose end is far away is looked after this often.
const FAR: Duration = Duration::from_secs(30);
/// Answers take a moment too: the first question is for the end, not for just before it.
const AFTER: Duration = Duration::from_millis(40);
/// How late an end may be noticed that came earlier than expected; where it may come earlier still, questions begin
/// earlier too.
const LATE: Duration = Duration::from_millis(200);

/// When to ask next.
#[derive(Clone, Debug)]
pub(crate) struct Polls {
    estimate: Option<Estimate>,
    next_pause: Duration,
}

impl Polls {
    pub(crate) fn new(estimate: Option<Estimate>) -> Self {
        Self { estimate, next_pause: FIRST }
    }

    /// How long to wait before the next question, at this time since the task's start.
    pub(crate) fn pause(&mut self, elapsed: Duration) -> Pause {
        let Some(Estimate { typical, spread }) = self.estimate else { return Pause::About(self.grow()) };
        let first = (typical + AFTER).saturating_sub(spread.saturating_sub(LATE));
        if elapsed < first {
            return Pause::Exactly(first.saturating_sub(elapsed).min(FAR));
        }
        let step = (spread / 2).clamp(CLOSEST, CLOSE);
        if elapsed < typical + spread {
            self.next_pause = step;
            return Pause::Exactly(step);
        }
        Pause::About(self.grow())
    }

    fn grow(&mut self) -> Duration {
        let pause = self.next_pause.min(LONGEST);
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
    fn questions(estimate: Option<Estimate>, end: Duration) -> Vec<Duration> {
        let mut polls = Polls::new(estimate);
        let mut now = Duration::ZERO;
        let mut asked = Vec::new();
        while asked.last().is_none_or(|last| *last < end) {
            let (Pause::About(pause) | Pause::Exactly(pause)) = polls.pause(now);
            now += pause;
            asked.push(now);
        }
        asked
    }

    /// For ends that are spread evenly around the expected one: the median of how late they are noticed, and the mean
    /// of how many questions that takes.
    fn cost(estimate: Estimate) -> (Duration, f64) {
        let Estimate { typical, spread } = estimate;
        let all: Vec<(Duration, usize)> = (0..=200)
            .map(|part| {
                let end = typical.saturating_sub(spread) + spread * part / 100;
                let asked = questions(Some(estimate), end);
                (asked.last().unwrap().abs_diff(end), asked.len())
            })
            .collect();
        let mut late: Vec<Duration> = all.iter().map(|(late, _)| *late).collect();
        late.sort_unstable();
        let questions: usize = all.iter().map(|(_, questions)| questions).sum();
        (late[late.len() / 2], f64::from(u32::try_from(questions).unwrap()) / 201.0)
    }

    #[test]
    fn without_an_idea_questions_become_rarer() {
        let asked = questions(None, ms(9000));
        assert_eq!(asked[..4], [ms(100), ms(260), ms(516), Duration::from_micros(925_600)]);
        let last: Vec<Duration> = asked.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
        assert_eq!(*last.last().unwrap(), LONGEST);
    }

    #[test]
    fn a_known_import_costs_few_questions_and_is_noticed_at_once() {
        let estimate = |spread| Estimate { typical: ms(20_000), spread: ms(spread) };
        let (late, questions) = cost(estimate(100));
        assert!(late <= ms(100) && questions <= 1.5, "{late:?} {questions}");
        let (late, questions) = cost(estimate(250));
        assert!(late <= ms(120) && questions <= 2.2, "{late:?} {questions}");
        let (late, questions) = cost(estimate(1000));
        assert!(late <= ms(150) && questions <= 6.0, "{late:?} {questions}");
    }

    #[test]
    fn a_long_task_is_still_looked_after() {
        let estimate = Some(Estimate { typical: ms(600_000), spread: ms(6000) });
        assert_eq!(questions(estimate, ms(60_000)), [ms(30_000), ms(60_000)]);
    }

    #[test]
    fn a_wrong_estimate_ends_in_rare_questions() {
        let estimate = Some(Estimate { typical: ms(1000), spread: ms(60) });
        let asked = questions(estimate, ms(20_000));
        assert!(asked.len() < 22, "{}", asked.len());
    }
}
