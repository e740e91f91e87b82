//! How long and how much memory Nix takes to evaluate all example deployments.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &["nix.eval_examples_s", "nix.eval_examples_rss_mb"];

/// A figure as `tests/nix/run --bench` prints it.
#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
}

/// Evaluates the examples, where there is a Nix; the script says on stderr what is missing.
pub(crate) fn run(_: &Options) -> Result<Vec<Measurement>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/nix/run");
    let output = Command::new(&script)
        .arg("--bench")
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("Failed to run `{}`", script.display()))?;
    if !output.status.success() {
        bail!("the examples do not evaluate: tests/nix/run --bench");
    }
    if output.stdout.is_empty() {
        return Err(NotHere("no Nix, or no nixpkgs library (see above)".to_owned()).into());
    }
    let figures: Vec<Figure> = serde_json::from_slice(&output.stdout).context("Failed to read the figures")?;
    Ok(figures.iter().map(|it| Measurement::new(&it.name, it.value, &it.unit, None)).collect())
}
