//! Why a step failed, in a form that is journaled and printed.

use serde::{Deserialize, Serialize};

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// What was being done to which thing: `Failed to create VM ...`.
    pub message: String,
    /// The causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The next thing to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was left behind in the world, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// What it means for the run.
    pub kind: FailureKind,
}

/// What a failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The same step may well succeed later: the network, a lock, a full disk.
    Transient,
    /// It fails again until somebody changes something.
    Permanent,
    /// Applied, but the application is not healthy.
    Unhealthy,
    /// The operator stopped it.
    Interrupted,
}
