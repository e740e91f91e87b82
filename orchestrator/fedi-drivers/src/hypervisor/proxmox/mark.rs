//! The line in a VM's description that says whose it is. An administrator's own text
//! around it is left alone.

use fedi_model::name::{AppName, DeploymentName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const START: &str = "fedi: ";

/// What the mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) deployment: DeploymentName,
    pub(super) app: AppName,
    pub(super) uuid: Uuid,
}

impl Mark {
    /// The mark as a line.
    pub(super) fn line(&self) -> String {
        format!("{START}{}", serde_json::to_string(self).unwrap_or_default())
    }

    /// Finds the mark in a description.
    pub(super) fn find(description: &str) -> Option<Self> {
        description.lines().find_map(|line| serde_json::from_str(line.trim().strip_prefix(START)?).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_among_other_text() {
        let mark = Mark {
            deployment: DeploymentName::new("matrix").unwrap(),
            app: AppName::new("matrix").unwrap(),
            uuid: Uuid::nil(),
        };
        let text = format!("Ours, do not touch\n{}\nmore", mark.line());
        assert_eq!(Mark::find(&text), Some(mark));
        assert_eq!(Mark::find("fedi: nonsense"), None);
        assert_eq!(Mark::find(""), None);
    }
}
