//! Looking at a deployment from outside, as its users do.

use async_trait::async_trait;
use fedi_model::plan::Probe;
use serde::Serialize;

/// Looks at a deployment from outside. Never fails: what it cannot reach is a check
/// that failed.
#[async_trait]
pub trait OutsideProbe: Send + Sync {
    /// DNS at the authoritative servers, TLS, and every endpoint, once.
    async fn probe(&self, probe: &Probe) -> HealthReport;
}

/// What was looked at and how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HealthReport {
    /// One entry a look.
    pub checks: Vec<Check>,
}

impl HealthReport {
    /// Whether nothing failed.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| check.state != CheckState::Failed)
    }
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// What was looked at: `DNS A matrix.example.org`, `unit synapse.service`.
    pub what: String,
    /// How it is.
    pub state: CheckState,
    /// In words.
    pub detail: String,
    /// Whether it stays failed until somebody mends it: waiting is no use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
}

impl Check {
    /// A look that ended so, and that waiting may change.
    pub fn new(what: impl Into<String>, state: CheckState, detail: impl Into<String>) -> Self {
        Self { what: what.into(), state, detail: detail.into(), lasting: false }
    }

    /// The same, staying as it is until somebody mends it if `lasting`.
    #[must_use]
    pub fn lasting(self, lasting: bool) -> Self {
        Self { lasting, ..self }
    }
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Fine,
    /// Not as it should be.
    Failed,
    /// Could not be looked at, for a reason that is not the deployment's.
    Unknown,
}
