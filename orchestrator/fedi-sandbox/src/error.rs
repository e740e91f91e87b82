//! What can go wrong around the sandbox, with the hint that belongs to it.

use std::io;
use std::path::PathBuf;

/// Why the sandbox could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Namespaces, mounts and cgroups need root.
    #[error("The sandbox needs root")]
    NotRoot,
    /// The kernel or the container we run in gives no cgroup that can be killed whole.
    #[error("No writable cgroup v2 hierarchy under /sys/fs/cgroup")]
    NoCgroup,
    /// A program that the sandbox is made of is not installed.
    #[error("`{program}` is not installed")]
    MissingProgram {
        /// Its name on the path.
        program: String,
    },
    /// The name cannot be a namespace and a folder.
    #[error("`{0}` cannot be the name of a sandbox: use up to 32 lower-case letters, digits and dashes")]
    BadName(String),
    /// The recipes of the guest root and of the systems are not where they should be.
    #[error("No sandbox recipes in `{}`", .0.display())]
    NoRecipes(PathBuf),
    /// The agent that guests are to have is not built.
    #[error("No agent for guests in `{}`", .0.display())]
    NoAgent(PathBuf),
    /// Another process brings this sandbox up or down.
    #[error("Another process is changing sandbox `{0}`")]
    Busy(String),
    /// The sandbox is not up.
    #[error("Sandbox `{0}` is not up")]
    NotUp(String),
    /// A file operation failed.
    #[error("Failed to {what}")]
    Io {
        /// The action and its object.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("Failed to {what}: {output}")]
    Command {
        /// The action and its object.
        what: String,
        /// The end of what it said.
        output: String,
    },
    /// A part of the sandbox did not answer in time or died.
    #[error("{part} did not come up: {why}")]
    NotReady {
        /// Which part.
        part: String,
        /// Why, with the end of its log.
        why: String,
        /// The whole log.
        log: PathBuf,
    },
    /// Something outlived its removal.
    #[error("Failed to remove {0}")]
    Leftover(String),
}

impl SandboxError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot => {
                Some("Run the same command as root; the sandbox touches nothing outside its namespaces".into())
            }
            Self::NoCgroup => Some("Linux 5.14 with cgroup v2 (or hybrid) and write access to it is needed".into()),
            Self::MissingProgram { .. } | Self::NoAgent(_) => Some("Run `make setup`".into()),
            Self::NoRecipes(_) => {
                Some("Run from a checkout of the repository, or set FEDI_SANDBOX_RECIPES to its tests/sandbox".into())
            }
            Self::NotUp(_) => Some("Run `fedi sandbox up`".into()),
            Self::NotReady { log, .. } => Some(format!("The whole log is in `{}`", log.display())),
            Self::Leftover(_) => Some("Run `fedi sandbox down` again".into()),
            _ => None,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
