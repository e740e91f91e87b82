//! Waits for the end of a task.

use std::time::Duration;

use proxmox_schema::Upid;

use super::poll::{Pause, Polls};
use super::{Estimate, Exit, TaskState};
use crate::class::{Class, Missing};
use crate::classify;
use crate::client::Client;
use crate::clock::jittered;
use crate::error::{During, Error};

/// A task that was just started is known at once; one that is not after this long never was.
const UNKNOWN_FOR: Duration = Duration::from_secs(3);
/// While the API cannot be reached, the task goes on: pauses between looking for it.
const UNREACHABLE: Duration = Duration::from_secs(5);
/// Lines of a failed task's log that are looked through for the reason.
const TAIL: usize = 50;

/// How to wait for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    deadline: Duration,
    estimate: Option<Estimate>,
    started: Duration,
}

impl Wait {
    /// Gives up after this long; the task goes on then.
    pub fn up_to(deadline: Duration) -> Self {
        Self { deadline, estimate: None, started: Duration::ZERO }
    }

    /// Asks nothing until about the expected end, and closely then. What fails at once is noticed then too.
    #[must_use]
    pub fn expecting(mut self, estimate: Option<Estimate>) -> Self {
        self.estimate = estimate;
        self
    }

    /// The task began this long ago (after a crash, or when something else was done in the meantime).
    #[must_use]
    pub fn begun(mut self, ago: Duration) -> Self {
        self.started = ago;
        self
    }

    /// A task that ran at one question and had ended at the next ended between them. One
    /// that had ended at the first question ended nobody knows when before it; it counts as
    /// earlier than it was expected, or else what is expected could only ever grow.
    fn end(&self, warnings: u32, ran_at: Option<Duration>, now: Duration, questions: u32) -> TaskEnd {
        let ago = match (ran_at, self.estimate) {
            (Some(before), _) => now.saturating_sub(before) / 2,
            (None, Some(estimate)) => estimate.spread,
            (None, None) => Duration::ZERO,
        };
        TaskEnd { warnings, took: now.saturating_sub(ago), ago, questions }
    }

    /// How long to wait before there can be anything to see, if that is known.
    pub(crate) fn first_pause(&self) -> Option<Duration> {
        match Polls::new(self.estimate).pause(self.started) {
            Pause::Exactly(pause) => Some(pause.min(self.deadline)),
            Pause::About(_) => None,
        }
    }
}

/// A task that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// Warnings in its log.
    pub warnings: u32,
    /// From its start to its end, as well as the questions tell; for [`super::History`].
    pub took: Duration,
    /// How long before it was noticed that was.
    pub ago: Duration,
    /// How often it was asked about.
    pub questions: u32,
}

impl Client {
    /// Waits for the end of a task.
    ///
    /// The error of a task that failed holds Proxmox's words, and its class is found as for an answer; the log is
    /// read only then. A task whose log broke off, as in a crash, is [`Class::Ambiguous`].
    pub async fn wait(&self, upid: &Upid, wait: &Wait) -> Result<TaskEnd, Error> {
        let begin = self.clock().now();
        let elapsed = || self.clock().now().saturating_sub(begin) + wait.started;
        let mut polls = Polls::new(wait.estimate);
        let mut questions = 0;
        let mut ran_at = None;
        let mut unreachable = false;
        loop {
            let pause = match polls.pause(elapsed()) {
                _ if unreachable => jittered(self.clock(), UNREACHABLE),
                Pause::About(pause) => jittered(self.clock(), pause),
                Pause::Exactly(pause) => pause,
            };
            let left = wait.deadline.saturating_sub(elapsed().saturating_sub(wait.started));
            if left.is_zero() {
                let text = format!("it still runs after {} s", wait.deadline.as_secs());
                return Err(Error::new(Class::Deadline, During::Task(Box::new(upid.clone())), text));
            }
            self.clock().sleep(pause.min(left)).await;
            questions += 1;
            unreachable = false;
            match self.task_state(upid).await {
                Ok(TaskState::Running) => ran_at = Some(elapsed()),
                Ok(TaskState::Ended(Exit::Ok)) => return Ok(wait.end(0, ran_at, elapsed(), questions)),
                Ok(TaskState::Ended(Exit::Warnings(warnings))) => {
                    return Ok(wait.end(warnings, ran_at, elapsed(), questions));
                }
                Ok(TaskState::Ended(exit)) => return Err(self.failure(upid, &exit).await),
                Err(error) if error.class().is_repeatable() => unreachable = true,
                Err(error) if error.class().is_missing(Missing::Task) && elapsed() < UNKNOWN_FOR => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The error of a task that failed. Its exit text alone does not say that a disk was full.
    pub(crate) async fn failure(&self, upid: &Upid, exit: &Exit) -> Error {
        let text = exit.to_string();
        let mut class = match exit {
            Exit::Unknown => Class::Ambiguous,
            _ => classify::of_text(&text),
        };
        let mut reason = match exit {
            Exit::Unknown => "its log breaks off, as after a crash of the node".to_owned(),
            _ => text,
        };
        if class == Class::Permanent
            && let Ok(log) = self.task_log(upid).await
        {
            let tail = log.iter().rev().take(TAIL).map(|line| line.text.as_str());
            let telling = tail.map(|line| (line, classify::of_text(line)));
            if let Some((line, found)) = telling.into_iter().find(|(_, class)| *class == Class::NoSpace) {
                reason = format!("{reason}: {line}");
                class = found;
            }
        }
        Error::new(class, During::Task(Box::new(upid.clone())), reason)
    }
}
