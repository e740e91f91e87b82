//! Evaluating and building an attribute of a flake.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::NixError;
use crate::log::Log;
use crate::nix::{Nix, Watch};
use crate::store_path::StorePath;

/// An attribute of a flake: `<flake>#<attribute>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Installable {
    flake: String,
    attribute: String,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The derivation, where there is one.
    pub derivation: Option<StorePath>,
    /// Its output `out`, or the only one.
    pub output: StorePath,
}

impl Installable {
    /// An attribute, by the names on the way to it. `flake` is a path or a reference
    /// such as `git+file:///srv/inventory`.
    pub fn new<I>(flake: impl Into<String>, names: I) -> Result<Self, NixError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let flake = flake.into();
        if flake.is_empty() || flake.starts_with('-') || flake.contains(['#', '\0', '\n']) {
            let message = format!("`{}` is no flake reference", flake.escape_default());
            return Err(NixError::Invalid { message });
        }
        let mut attribute = String::new();
        for name in names {
            let name = name.as_ref();
            // Nix's command line knows quotes around a name, but no way to write a quote inside.
            if name.is_empty() || name.contains(['"', '\0', '\n']) {
                let message = format!("`{}` is no attribute name", name.escape_default());
                return Err(NixError::Invalid { message });
            }
            if !attribute.is_empty() {
                attribute.push('.');
            }
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-'".contains(&byte)) {
                attribute.push_str(name);
            } else {
                attribute.push('"');
                attribute.push_str(name);
                attribute.push('"');
            }
        }
        if attribute.is_empty() {
            return Err(NixError::Invalid { message: "An attribute needs at least one name".to_owned() });
        }
        Ok(Self { flake, attribute })
    }
}

impl fmt::Display for Installable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.flake, self.attribute)
    }
}

impl Nix {
    /// Evaluates an attribute. Nothing is built, the flake's lock file stays as it is.
    pub async fn eval<T: DeserializeOwned>(&self, installable: &Installable, watch: Watch<'_>) -> Result<T, NixError> {
        self.eval_through(installable, None, watch).await
    }

    /// Evaluates what the function `apply` (an expression in Nix) makes of an attribute:
    /// several things at the price of one evaluation.
    pub async fn eval_through<T: DeserializeOwned>(
        &self,
        installable: &Installable,
        apply: Option<&str>,
        mut watch: Watch<'_>,
    ) -> Result<T, NixError> {
        self.version().await?;
        let mut command = self.command(["eval"]);
        command.args(["--json", "--no-write-lock-file"]).arg(installable.to_string());
        if let Some(apply) = apply {
            command.arg("--apply").arg(apply);
        }
        let (finished, log) = self.run(command, &mut watch).await?;
        if !finished.status.success() {
            return Err(evaluation(installable, &log));
        }
        serde_json::from_slice(&finished.stdout)
            .map_err(|error| NixError::Answer { what: format!("nix eval {installable}"), message: error.to_string() })
    }

    /// Evaluates an attribute and builds it.
    pub async fn build(&self, installable: &Installable, mut watch: Watch<'_>) -> Result<Built, NixError> {
        self.version().await?;
        let mut command = self.command(["build"]);
        command.args(["--json", "--no-link", "--no-write-lock-file"]).arg(installable.to_string());
        let (finished, log) = self.run(command, &mut watch).await?;
        if !finished.status.success() {
            return Err(build_failure(installable, &log));
        }
        let answer: Value = serde_json::from_slice(&finished.stdout).map_err(|error| NixError::Answer {
            what: format!("nix build {installable}"),
            message: error.to_string(),
        })?;
        built(&answer).ok_or_else(|| NixError::Answer {
            what: format!("nix build {installable}"),
            message: "it names no output".to_owned(),
        })
    }
}

fn evaluation(installable: &Installable, log: &Log) -> NixError {
    NixError::Evaluation { attribute: installable.to_string(), message: log.message() }
}

/// A failed `nix build` is a failed evaluation unless a derivation is to blame.
fn build_failure(installable: &Installable, log: &Log) -> NixError {
    let message = log.message();
    let derivation = blamed(&message);
    if derivation.is_none() && !log.has_builds() {
        return evaluation(installable, log);
    }
    let lines = derivation.as_ref().map(|path| log.of_build(path.as_str())).unwrap_or_default();
    NixError::Build { derivation, message, log: lines }
}

/// The derivation whose own builder failed, out of Nix's message: `builder for
/// '<drv>' failed with exit code 1`, since 2.31 `Cannot build '<drv>'. Reason: builder
/// failed with exit code 1.`; those that only depend on it are named as well.
fn blamed(message: &str) -> Option<StorePath> {
    let derivations = |line: &str| {
        let quoted: Vec<&str> = line.split('\'').collect();
        quoted.iter().find_map(|text| StorePath::parse(text).ok().filter(StorePath::is_derivation))
    };
    let lines: Vec<&str> = message.lines().collect();
    let own = |at: usize| {
        let line = lines[at];
        let next = lines.get(at + 1).copied().unwrap_or_default();
        line.contains("builder for") || (line.contains("Cannot build") && next.contains("builder failed"))
    };
    let first = (0..lines.len()).filter(|at| own(*at)).find_map(|at| derivations(lines[at]));
    let any = || {
        lines.iter().filter(|line| line.contains("build") || line.contains("fail")).find_map(|line| derivations(line))
    };
    first.or_else(any)
}

/// Reads `nix build --json`: a list of `{drvPath, outputs: {out: path}}`; where
/// nothing had to be derived, of paths.
fn built(answer: &Value) -> Option<Built> {
    let first = answer.as_array()?.first()?;
    let path = |value: &Value| StorePath::parse_in(value.as_str()?, StorePath::STORE).ok();
    if let Some(output) = path(first).or_else(|| first.get("path").and_then(path)) {
        return Some(Built { derivation: None, output });
    }
    let outputs = first.get("outputs")?.as_object()?;
    let output = outputs.get("out").or_else(|| outputs.values().next()).and_then(path)?;
    Some(Built { derivation: first.get("drvPath").and_then(path), output })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let names = ["nixosConfigurations", "social.example.org", "config"];
        let installable = Installable::new("/srv/inventory", names).unwrap();
        assert_eq!(installable.to_string(), "/srv/inventory#nixosConfigurations.\"social.example.org\".config");
        assert!(Installable::new("--impure", ["a"]).is_err());
        assert!(Installable::new(".#x", ["a"]).is_err());
        assert!(Installable::new(".", ["a\"b"]).is_err());
        assert!(Installable::new(".", [""]).is_err());
        assert!(Installable::new(".", Vec::<String>::new()).is_err());
    }

    #[test]
    fn outputs_in_every_form() {
        let digest = "5r7jmrdk3cdd3vy3min1n6f9gi28vvhx";
        let full = format!("/nix/store/{digest}-toy");
        let drv = format!("/nix/store/{digest}-toy.drv");
        let usual = json!([{ "drvPath": drv, "outputs": { "out": full } }]);
        let expected = Built { derivation: StorePath::parse(&drv).ok(), output: StorePath::parse(&full).unwrap() };
        assert_eq!(built(&usual), Some(expected.clone()));
        let bases = json!([{ "drvPath": format!("{digest}-toy.drv"), "outputs": { "out": format!("{digest}-toy") } }]);
        assert_eq!(built(&bases), Some(expected));
        assert_eq!(built(&json!([full.clone()])).unwrap().derivation, None);
        assert_eq!(built(&json!([{ "outputs": { "dev": full } }])).unwrap().output.name(), "toy");
        assert_eq!(built(&json!([])), None);
    }

    #[test]
    fn the_derivation_to_blame() {
        let digest = "5r7jmrdk3cdd3vy3min1n6f9gi28vvhx";
        let old = format!(
            "builder for '/nix/store/{digest}-leaf.drv' failed with exit code 3\n1 dependencies of derivation '/nix/store/{digest}-top.drv' failed to build"
        );
        let new = format!(
            "Cannot build '/nix/store/{digest}-top.drv'.\nReason: 1 dependency failed.\nCannot build '/nix/store/{digest}-leaf.drv'.\nReason: builder failed with exit code 3."
        );
        for message in [old, new] {
            assert_eq!(blamed(&message).unwrap().name(), "leaf.drv", "{message}");
        }
        assert_eq!(blamed("attribute 'x' missing"), None);
    }

    proptest! {
        #[test]
        fn any_message_is_read(message in "(\\PC|\n|')*") {
            blamed(&message);
        }
    }
}
