//! Which sandbox, where it keeps its things, and what it is made from.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Result, SandboxError};

/// The name of the sandbox when none is given.
pub const DEFAULT_NAME: &str = "fedi-sandbox";

/// What a sandbox needs to know to come up.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Names the network namespace, the cgroup and the state folder. Several sandboxes with different names
    /// run side by side.
    pub name: String,
    /// Folder of everything that is slow to make: the guest root, the systems; below it `sandbox/<name>/`.
    pub cache: PathBuf,
    /// The repository's `tests/sandbox`: recipes of the guest root and of the systems.
    pub recipes: PathBuf,
    /// The command that serves a simulated host, to which the path of its settings is appended: a program that
    /// calls [`crate::host::serve`].
    pub host_command: Vec<OsString>,
    /// The static binary that the guests' image holds as `/usr/bin/fedi-guest`.
    pub guest_agent: PathBuf,
}

impl SandboxOptions {
    /// The usual options under a name: cache in `$FEDI_CACHE_DIR` or `~/.cache/fedi`, recipes from
    /// `$FEDI_SANDBOX_RECIPES` or the checkout that the program or the working folder lies in.
    pub fn new(name: &str, host_command: Vec<OsString>) -> Result<Self> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let first_is_letter = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !first_is_letter || name.len() > 32 || !name.chars().all(valid) {
            return Err(SandboxError::BadName(name.to_owned()));
        }
        let cache = cache_dir();
        Ok(Self {
            name: name.to_owned(),
            recipes: recipes()?,
            host_command,
            guest_agent: cache.join("bin/fedi-guest"),
            cache,
        })
    }

    /// The folder of this sandbox.
    pub fn folder(&self) -> PathBuf {
        self.cache.join("sandbox").join(&self.name)
    }
}

fn cache_dir() -> PathBuf {
    if let Some(path) = env::var_os("FEDI_CACHE_DIR").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let base = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    base.unwrap_or_else(home).join("fedi")
}

fn recipes() -> Result<PathBuf> {
    if let Some(path) = env::var_os("FEDI_SANDBOX_RECIPES") {
        return is_recipes(Path::new(&path)).ok_or_else(|| SandboxError::NoRecipes(path.into()));
    }
    let starts = [env::current_exe().ok(), env::current_dir().ok()];
    let found = starts.iter().flatten().flat_map(|start| start.ancestors());
    found
        .map(|folder| folder.join("tests/sandbox"))
        .find_map(|folder| is_recipes(&folder))
        .ok_or_else(|| SandboxError::NoRecipes(PathBuf::from("tests/sandbox")))
}

fn is_recipes(folder: &Path) -> Option<PathBuf> {
    folder.join("guest-root/build").is_file().then(|| folder.to_owned())
}
