//! What a capture promises about the state that it holds. What was observed in one
//! is `fedi-state`'s snapshot manifest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may have moved while state was captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// The application ran; items were captured in any order.
    Live,
    /// The application ran; databases were captured before the files they point to,
    /// so that a row may lack nothing and a file may lack its row.
    #[default]
    DumpThenFiles,
    /// No process of the application ran. The only one that moves a deployment.
    Quiesced,
}

impl Consistency {
    /// As it is written in files and tags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::DumpThenFiles => "dump-then-files",
            Self::Quiesced => "quiesced",
        }
    }
}

impl std::fmt::Display for Consistency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
