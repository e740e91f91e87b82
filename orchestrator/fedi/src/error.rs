//! What ends a command: sorted into kinds, with its exit code and its wording in one
//! place.

use std::fmt::Write as _;

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_inventory::Problems;
use fedi_model::run::Failure;
use serde::Serialize;

use crate::carry_out::Ending;

/// How a command ended; the number is the process' exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    /// All done.
    Done = 0,
    /// Failed; what had been done is taken back, or nothing had been done.
    Failed = 1,
    /// Wrong usage or configuration, or a precondition that refuses.
    Refused = 2,
    /// `plan --check` found changes.
    Changes = 3,
    /// Stopped part-way; can be taken up again.
    Resumable = 4,
    /// Somebody else is at work.
    Locked = 5,
    /// Applied, but not healthy.
    Unhealthy = 6,
    /// Interrupted before anything was begun; the code is the shells' own for Ctrl-C.
    Interrupted = 130,
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CommandError {
    /// What follows for the process.
    pub(crate) exit: Exit,
    /// What was being done to which thing.
    pub(crate) message: String,
    /// Why, outermost first.
    pub(crate) causes: Vec<String>,
    /// What is left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left: Option<String>,
    /// The next thing to try; one of several a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// What is wrong with the inventory, where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problems: Option<Box<Problems>>,
    /// How the run ended, where there was one.
    #[serde(skip)]
    pub(crate) ending: Option<Box<Ending>>,
}

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), left: None, hint: None, problems: None, ending: None }
    }

    /// A precondition or a configuration that refuses.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    #[must_use]
    pub(crate) fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Adds the chain of `error` to the causes.
    #[must_use]
    pub(crate) fn because(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Says what is left behind.
    #[must_use]
    pub(crate) fn left(mut self, text: impl Into<String>) -> Self {
        self.left = Some(text.into());
        self
    }

    #[must_use]
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The text for people, as `style.md` has it: error, causes, what is left, hint.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        for problem in self.problems.iter().flat_map(|problems| problems.as_slice()) {
            let _ = writeln!(text, "  {problem}");
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  Caused by: {}", cause.replace('\n', "\n    "));
        }
        if let Some(left) = &self.left {
            let _ = writeln!(text, "\nleft behind: {left}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "\nhint: {}", hint.replace('\n', "\n      "));
        }
        text
    }

    /// The same as part of a report, without empty lines, below something that it is about.
    pub(crate) fn render_below(&self) -> String {
        let mut text = String::new();
        for line in self.render().lines().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

impl From<DriverError> for CommandError {
    fn from(error: DriverError) -> Self {
        let exit = match error.kind {
            DriverErrorKind::Invalid
            | DriverErrorKind::Denied
            | DriverErrorKind::Foreign
            | DriverErrorKind::Exhausted => Exit::Refused,
            DriverErrorKind::Unhealthy => Exit::Unhealthy,
            DriverErrorKind::Interrupted => Exit::Resumable,
            DriverErrorKind::Unavailable | DriverErrorKind::Drift | DriverErrorKind::Failed => Exit::Failed,
        };
        Self { causes: error.causes, left: error.left, hint: error.hint, ..Self::new(exit, error.message) }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self {
            causes: failure.causes,
            left: failure.left,
            hint: failure.hint,
            ..Self::new(Exit::Failed, failure.message)
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::failed("Failed to read or write").because(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_the_style_has_it() {
        let error = CommandError::failed("Failed to create VM `mastodon` on host `proxmox1`")
            .cause("Proxmox refused the request (403)")
            .cause("Token `fedi@pve!deploy` lacks `VM.Allocate` on `/pool/fedi`")
            .hint("Run `fedi doctor proxmox1` for the commands that grant it");
        assert_eq!(
            error.render(),
            "error: Failed to create VM `mastodon` on host `proxmox1`\n  \
             Caused by: Proxmox refused the request (403)\n  \
             Caused by: Token `fedi@pve!deploy` lacks `VM.Allocate` on `/pool/fedi`\n\n\
             hint: Run `fedi doctor proxmox1` for the commands that grant it\n"
        );
    }
}
