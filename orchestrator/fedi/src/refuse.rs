//! Turns the errors of the libraries into ends of a command: kind, wording and hint of
//! each in one place.

use std::path::Path;

use fedi_engine::store::StoreError;
use fedi_inventory::{CredentialError, EditError, InitError, LoadError, PathError, Problems, Unknown};
use fedi_plan::PlanError;
use fedi_workflow::WorkflowError;

use crate::error::{CommandError, Exit};
use crate::ui::count;

/// A refusal with the error's words, its causes and a hint.
fn refusal(error: &(dyn std::error::Error + 'static), hint: Option<String>) -> CommandError {
    let mut made = CommandError::refused(error.to_string());
    if let Some(source) = error.source() {
        made = made.because(source);
    }
    made.hint = hint;
    made
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Problems(problems) => problems.into(),
            LoadError::NotFound { .. } => refusal(&error, error.hint()),
        }
    }
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        let count = count(problems.as_slice().len(), "problem", "problems");
        let mut made = CommandError::refused(format!("The inventory has {count}"));
        made.problems = Some(Box::new(problems));
        made
    }
}

/// Why `what` cannot be done, where all that is wrong is in a file that would be new: its
/// lines mean nothing to whoever gave the settings as options.
pub(crate) fn refused_settings(what: &str, file: &Path, problems: &Problems) -> Option<CommandError> {
    let problems = problems.as_slice();
    if problems.iter().any(|problem| problem.file != file) {
        return None;
    }
    let mut made = CommandError::refused(what);
    made.causes = problems.iter().map(|problem| problem.message.clone()).collect();
    let hints: Vec<&str> = problems.iter().filter_map(|problem| problem.hint.as_deref()).collect();
    made.hint = (!hints.is_empty()).then(|| hints.join("\n"));
    Some(made)
}

impl From<PathError> for CommandError {
    fn from(error: PathError) -> Self {
        refusal(&error, None)
    }
}

impl From<CredentialError> for CommandError {
    fn from(error: CredentialError) -> Self {
        refusal(&error, error.hint())
    }
}

impl From<EditError> for CommandError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Problems(problems) => problems.into(),
            other => refusal(&other, other.hint()),
        }
    }
}

impl From<InitError> for CommandError {
    fn from(error: InitError) -> Self {
        match error {
            InitError::Load(error) => error.into(),
            other => refusal(&other, other.hint()),
        }
    }
}

impl From<Unknown> for CommandError {
    fn from(error: Unknown) -> Self {
        let hint = error.hint.clone();
        refusal(&error, hint)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        let exit = match error {
            StoreError::Held(_) | StoreError::Stale { .. } => Exit::Locked,
            _ => Exit::Refused,
        };
        refusal(&error, hint).exit(exit)
    }
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        let mut made = CommandError::refused(error.to_string());
        made.causes = error.refusals.iter().map(ToString::to_string).collect();
        let hints: Vec<String> = error.refusals.iter().filter_map(fedi_plan::Refusal::hint).collect();
        made.hint = (!hints.is_empty()).then(|| hints.join("\n"));
        made
    }
}

impl From<WorkflowError> for CommandError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Unknown(error) => error.into(),
            WorkflowError::Path(error) => error.into(),
            WorkflowError::Refused(error) => error.into(),
            WorkflowError::Driver(error) => error.into(),
            WorkflowError::Store(error) => error.into(),
        }
    }
}
