//! The process environment, as a value: the one place that reads variables, so that
//! tests bring their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where variables come from.
#[derive(Debug, Clone)]
pub struct Environment(Source);

#[derive(Debug, Clone)]
enum Source {
    Process,
    Fixed(BTreeMap<String, String>),
}

/// A path that leans on something the environment does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `$NAME/...`, and no such variable.
    #[error("`{path}` needs the environment variable `{name}`, which is not set")]
    UnsetVariable {
        /// The path as written.
        path: String,
        /// The variable.
        name: String,
    },
    /// `~/...`, and no home folder.
    #[error("`{path}` needs a home folder, and `HOME` is not set")]
    NoHome {
        /// The path as written.
        path: String,
    },
}

impl Environment {
    /// This process' own. Variables are read when they are asked for.
    pub fn of_process() -> Self {
        Self(Source::Process)
    }

    /// Exactly these variables.
    pub fn fixed<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(Source::Fixed(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// The variable, where it is set and not empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Source::Process => std::env::var(name).ok(),
            Source::Fixed(variables) => variables.get(name).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// What a path in a file means: `~/` is the home folder, `$NAME/` a variable,
    /// anything else that is relative starts at `base`.
    pub fn resolve(&self, base: &Path, text: &str) -> Result<PathBuf, PathError> {
        let path = || text.to_owned();
        if text == "~" || text.starts_with("~/") {
            let home = self.variable("HOME").ok_or_else(|| PathError::NoHome { path: path() })?;
            return Ok(Path::new(&home).join(text[1..].trim_start_matches('/')));
        }
        if let Some(rest) = text.strip_prefix('$') {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let value = self.variable(name);
            let value = value.ok_or_else(|| PathError::UnsetVariable { path: path(), name: name.to_owned() })?;
            return Ok(Path::new(&value).join(rest.trim_start_matches('/')));
        }
        Ok(base.join(text))
    }

    /// fedi's configuration folder: `$FEDI_CONFIG_DIR`, else `~/.config/fedi`.
    pub fn config_dir(&self) -> Result<PathBuf, PathError> {
        match self.variable("FEDI_CONFIG_DIR") {
            Some(folder) => Ok(PathBuf::from(folder)),
            None => self.resolve(Path::new("/"), "~/.config/fedi"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let environment = Environment::fixed([("HOME", "/home/me"), ("SYSTEMS", "/srv/systems"), ("EMPTY", "")]);
        let resolve = |text| environment.resolve(Path::new("/inventory"), text).map(|path| path.display().to_string());
        assert_eq!(resolve("a/b"), Ok("/inventory/a/b".to_owned()));
        assert_eq!(resolve("/a/b"), Ok("/a/b".to_owned()));
        assert_eq!(resolve("~/a"), Ok("/home/me/a".to_owned()));
        assert_eq!(resolve("$SYSTEMS/a"), Ok("/srv/systems/a".to_owned()));
        assert_eq!(resolve("$SYSTEMS"), Ok("/srv/systems/".to_owned()));
        for unset in ["$EMPTY/a", "$NONE/a"] {
            assert!(matches!(resolve(unset), Err(PathError::UnsetVariable { .. })), "{unset}");
        }
        let homeless = Environment::fixed::<&str, &str>([]);
        assert!(matches!(homeless.config_dir(), Err(PathError::NoHome { .. })));
        assert_eq!(environment.config_dir().unwrap(), Path::new("/home/me/.config/fedi"));
    }
}
