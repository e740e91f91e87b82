//! How far the simulator's answers agree with recorded ones of real installs, in per cent.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &["sim.recorded_agreement"];

/// Replays the recording, if it is there.
pub(crate) fn run(_: &Options) -> Result<Vec<Measurement>> {
    let orchestrator = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = orchestrator.join("../target/sim-agreement.json");
    if path.exists() {
        fs::remove_file(&path).context("Failed to remove the figures of an earlier time")?;
    }
    let status = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--package", "fedi-sim", "--test", "fidelity"])
        .current_dir(&orchestrator)
        .env("FEDI_SIM_AGREEMENT", &path)
        .stdout(Stdio::null())
        .status()
        .context("Failed to run cargo")?;
    if !path.exists() {
        if status.success() {
            return Err(NotHere("there is no recording beside the repository".to_owned()).into());
        }
        bail!("the replay failed: cargo test --package fedi-sim --test fidelity");
    }
    let figures: Value = serde_json::from_slice(&fs::read(&path).context("Failed to read the figures")?)?;
    let figures = &figures["sim.recorded_agreement"];
    let number = |value: &Value| value["percent"].as_f64().context("The replay wrote no figure");
    let mut measured = vec![Measurement::new("sim.recorded_agreement", number(figures)?, "%", None)];
    for (group, figure) in figures["groups"].as_object().into_iter().flatten() {
        let name = format!("sim.recorded_agreement.{group}");
        measured.push(Measurement::new(&name, number(figure)?, "%", None));
    }
    Ok(measured)
}
