//! Draws the events of a run: bars on a terminal, timestamped lines elsewhere, JSON
//! lines for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fedi_model::event::{Event, EventLine};
use fedi_model::plan::{Plan, StepId};
use fedi_model::run::FailureKind;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Zoned;

use super::{Ui, count};

/// Watches a run.
pub(crate) struct Progress {
    ui: Ui,
    bars: MultiProgress,
    /// The sign of each step's line in the plan.
    signs: BTreeMap<StepId, char>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: usize,
    done: usize,
    running: BTreeMap<StepId, Running>,
}

struct Running {
    title: String,
    since: Instant,
    bar: Option<ProgressBar>,
    last_line: Option<(Instant, String)>,
}

/// Without a terminal, a step says at most this often how it goes.
pub(super) const LINES_APART: Duration = Duration::from_secs(10);

impl Progress {
    pub(crate) fn new(ui: Ui, plan: &Plan) -> Self {
        let signs = plan.steps().filter_map(|step| Some((step.id.clone(), step.sign()?.symbol())));
        Self { ui, bars: MultiProgress::new(), signs: signs.collect(), state: Mutex::default() }
    }

    /// Takes an event.
    pub(crate) fn line(&self, line: &EventLine) {
        if self.ui.json {
            if let Ok(text) = serde_json::to_string(line) {
                let _ = writeln!(io::stdout().lock(), "{text}");
            }
        } else if !self.ui.quiet {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.draw(&mut state, line);
        }
    }

    /// Says something above what is drawn.
    pub(crate) fn tell(&self, text: &str) {
        if !self.ui.json && !self.ui.quiet {
            self.say(text);
        }
    }

    /// Clears what is still drawn.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for running in std::mem::take(&mut state.running).into_values() {
            if let Some(bar) = running.bar {
                bar.finish_and_clear();
            }
        }
    }

    fn draw(&self, state: &mut State, line: &EventLine) {
        match &line.event {
            Event::RunStarted { workflow, deployment, steps, finished, .. } => {
                (state.steps, state.done) = (*steps, *finished);
                let done = if *finished > 0 { format!(", {finished} done already") } else { String::new() };
                let steps = count(*steps, "step", "steps");
                self.say(&format!("run {}: {workflow} `{deployment}`, {steps}{done}", line.run));
            }
            Event::StepStarted { step, title } | Event::StepUndoing { step, title } => {
                let undo = matches!(line.event, Event::StepUndoing { .. });
                let sign = self.signs.get(step).copied().unwrap_or('>');
                let title = if undo { format!("undo: {title}") } else { format!("{sign} {title}") };
                let bar = self.ui.is_live().then(|| {
                    let bar = self.bars.add(ProgressBar::new_spinner().with_style(spinner()));
                    bar.set_message(title.clone());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                let running = Running { title, since: Instant::now(), bar, last_line: None };
                state.running.insert(step.clone(), running);
            }
            Event::StepProgress { step, message, done, total } => {
                if let Some(running) = state.running.get_mut(step) {
                    self.go_on(running, message, *done, *total);
                }
            }
            Event::StepFinished { step } => {
                state.done += 1;
                let done = format!("[{}/{}]", state.done, state.steps);
                if let Some(running) = finish(state, step) {
                    self.say(&format!("{done} {} ({})", running.title, span(running.since)));
                }
            }
            Event::StepUndone { step } => {
                if let Some(running) = finish(state, step) {
                    self.say(&format!("{} ({})", running.title, span(running.since)));
                }
            }
            Event::StepFailed { step, failure } | Event::StepUndoFailed { step, failure }
                if failure.kind == FailureKind::Interrupted =>
            {
                if let Some(running) = finish(state, step) {
                    self.say(&format!("stopped: {} ({})", running.title, span(running.since)));
                }
            }
            Event::StepFailed { step, failure } | Event::StepUndoFailed { step, failure } => {
                if let Some(running) = finish(state, step) {
                    self.say(&format!("failed: {} ({})", running.title, span(running.since)));
                }
                self.say(&format!("  {}", failure.message));
                for cause in &failure.causes {
                    self.say(&format!("  Caused by: {cause}"));
                }
            }
            Event::StepRetrying { step, failure, wait_s } => {
                if let Some(running) = state.running.get(step) {
                    let why = failure.causes.last().unwrap_or(&failure.message);
                    self.say(&format!("  {}: {why}; trying again in {wait_s} s", running.title));
                }
            }
            Event::Unwinding { reason } => self.say(&format!("taking back what was done: {reason}")),
            Event::Notice { message } => self.say(&format!("note: {message}")),
            Event::Pivoted { reason } => {
                state.done += 1;
                self.say(&format!("[{}/{}] -- {reason}", state.done, state.steps));
            }
            Event::StageStarted { .. } | Event::RunStopped { .. } => {}
        }
    }

    fn go_on(&self, running: &mut Running, message: &str, done: Option<u64>, total: Option<u64>) {
        let text = format!("{}: {message}{}", running.title, share(done, total));
        if let Some(bar) = &running.bar {
            bar.set_message(text);
            return;
        }
        let quiet_for = running.last_line.as_ref().map_or_else(|| running.since.elapsed(), |(at, _)| at.elapsed());
        let is_new = running.last_line.as_ref().is_none_or(|(_, last)| *last != text);
        if is_new && quiet_for >= LINES_APART {
            self.say(&format!("  {text}"));
            running.last_line = Some((Instant::now(), text));
        }
    }

    fn say(&self, text: &str) {
        if self.ui.is_live() {
            let _ = self.bars.println(text);
        } else {
            let _ = writeln!(io::stderr(), "{}", timestamped(text));
        }
    }
}

fn finish(state: &mut State, step: &StepId) -> Option<Running> {
    let running = state.running.remove(step)?;
    if let Some(bar) = &running.bar {
        bar.finish_and_clear();
    }
    Some(running)
}

fn span(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

/// A text with the time of day before it.
pub(super) fn timestamped(text: &str) -> String {
    format!("{} {text}", Zoned::now().strftime("%H:%M:%S"))
}

/// ` 42%`, where it can be counted.
pub(super) fn share(done: Option<u64>, total: Option<u64>) -> String {
    match (done, total) {
        (Some(done), Some(total)) if total > 0 => format!(" {}%", done.min(total) * 100 / total),
        _ => String::new(),
    }
}

pub(super) fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} ({elapsed})").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
