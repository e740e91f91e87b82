//! What people and programs get to see. stdout is data, stderr is talk.

mod one_step;
mod progress;
mod table;

use std::io::{self, BufRead, IsTerminal, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use crate::error::{CommandError, Exit};

pub(crate) use one_step::OneStep;
pub(crate) use progress::Progress;
pub(crate) use table::Table;

/// Version of everything that `--json` prints.
pub(crate) const SCHEMA: u32 = 1;

/// When to colour: `Auto` is on a terminal, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // No doc comments: they would make a table of this in every command's help.
    #[default]
    Auto,
    Always,
    Never,
}

/// How to talk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// Programs listen.
    pub(crate) json: bool,
    /// Results and errors only.
    pub(crate) quiet: bool,
    color: Color,
}

impl Ui {
    pub(crate) fn new(json: bool, quiet: bool, color: Color) -> Self {
        Self { json, quiet, color }
    }

    /// Whether stderr is a terminal that bars and colours may be drawn on.
    pub(crate) fn is_live(self) -> bool {
        io::stderr().is_terminal() && !self.json && !self.quiet
    }

    fn colours(self, stream_is_terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream_is_terminal && no_color_is_unset(),
        }
    }

    /// Wraps `text` in an SGR code for stdout.
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        if !self.json && self.colours(io::stdout().is_terminal()) {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Whether stdout is a terminal that people look at.
    pub(crate) fn is_terminal(self) -> bool {
        io::stdout().is_terminal() && !self.json
    }

    /// Colours the signs of a plan that goes to stderr.
    pub(crate) fn paint_plan(self, plan: &str) -> String {
        if self.colours(io::stderr().is_terminal()) { painted(plan) } else { plan.to_owned() }
    }

    /// Colours the signs of a plan that goes to stdout.
    pub(crate) fn paint_plan_out(self, plan: &str) -> String {
        if self.colours(io::stdout().is_terminal()) { painted(plan) } else { plan.to_owned() }
    }

    /// Prints a report: its JSON for programs, `text` for people.
    pub(crate) fn report(self, report: &impl Serialize, text: &str) -> Result<(), CommandError> {
        if self.json {
            return json_line(report);
        }
        write_out(text.as_bytes())
    }

    /// Says something that is not a result.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet && !self.json {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Says why a command ended.
    pub(crate) fn fail(self, error: &CommandError) {
        if self.json {
            let mut report = json!({ "error": error });
            if let (Some(ending), Some(report)) = (&error.ending, report.as_object_mut()) {
                report.insert("run".to_owned(), json!(ending.run));
                report.insert("outcome".to_owned(), json!(ending.outcome));
            }
            let _ = json_line(&report);
        }
        let text = error.render();
        let text = if self.colours(io::stderr().is_terminal()) {
            text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1).replacen("\nhint:", "\n\x1b[1;36mhint:\x1b[0m", 1)
        } else {
            text
        };
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Asks for a yes. Without a terminal there is nobody to ask: `flag` says it then.
    pub(crate) async fn confirm(self, question: &str, flag: &str) -> Result<bool, CommandError> {
        let answer = self.ask(&format!("{question} [y/N] "), flag).await?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Asks for a text. The wait can be given up at any time.
    pub(crate) async fn ask(self, question: &str, flag: &str) -> Result<String, CommandError> {
        if !io::stdin().is_terminal() || self.json {
            return Err(CommandError::new(Exit::Refused, "There is nobody to ask for a confirmation")
                .hint(format!("Add `{flag}`")));
        }
        let mut stderr = io::stderr();
        write!(stderr, "{question}")?;
        stderr.flush()?;
        let read = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer).map(|_| answer)
        });
        let answer = read.await.map_err(io::Error::other)??;
        Ok(answer.trim_end_matches('\n').to_owned())
    }
}

/// Colours each line of a plan by its sign, which stands at the left or right of the
/// stage's title.
fn painted(plan: &str) -> String {
    let sign = |line: &str| {
        line.split_whitespace().take(2).find_map(|word| match word {
            "+" => Some("32"),
            "~" => Some("33"),
            "-" => Some("31"),
            ">" => Some("36"),
            _ => None,
        })
    };
    let paint = |line: &str| match sign(line) {
        Some(code) => format!("\x1b[{code}m{line}\x1b[0m\n"),
        None => format!("{line}\n"),
    };
    plan.lines().map(paint).collect()
}

/// A time for people: where they are, to the minute.
pub(crate) fn local(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `1 step`, `2 steps`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Prints one JSON object on a line of its own, with the schema's version.
pub(crate) fn json_line(report: &impl Serialize) -> Result<(), CommandError> {
    let mut value = json!({ "schema": SCHEMA });
    let body = serde_json::to_value(report)
        .map_err(|error| CommandError::failed("Failed to print the result").because(&error))?;
    match (&mut value, body) {
        (serde_json::Value::Object(outer), serde_json::Value::Object(body)) => outer.extend(body),
        (serde_json::Value::Object(outer), other) => {
            outer.insert("items".to_owned(), other);
        }
        _ => {}
    }
    write_out(format!("{value}\n").as_bytes())
}

fn no_color_is_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to stdout.
pub(crate) fn write_out(text: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // Whoever read it has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CommandError::from),
    }
}
