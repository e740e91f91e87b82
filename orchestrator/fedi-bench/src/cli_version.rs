//! `cli.version_ms`: how long a user waits for `fedi` to say anything at all.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::measurement::{Measurement, median};
use crate::{Options, fedi};

pub(crate) const NAMES: &[&str] = &["cli.version_ms"];

const RUNS: usize = 41;
const MOST_MS: f64 = 20.0;

/// Measures it: the median over some runs, from before `fork` to after `wait`.
pub(crate) fn run(_: &Options) -> Result<Vec<Measurement>> {
    let fedi = fedi()?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let status = Command::new(&fedi).arg("--version").stdout(Stdio::null()).status()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            bail!("`fedi --version` ended with {status}");
        }
    }
    let note = format!("median of {RUNS}");
    Ok(vec![Measurement::new("cli.version_ms", median(times), "ms", Some(MOST_MS)).noting(note)])
}
