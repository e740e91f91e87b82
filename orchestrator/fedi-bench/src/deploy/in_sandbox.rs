//! `deploy.noop_*`, `plan.1000_*` and `state.orchestrator_rss_mb`: the real release binary in a sandbox of its own,
//! with the simulated hypervisors, a real guest with Synapse, and a real PowerDNS.
//!
//! The sandbox is taken down afterwards, whatever happens.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::inventory;
use crate::alone::{Task, Took};
use crate::measurement::{Measurement, median};
use crate::tidy::Tidy;
use crate::{NotHere, Options, fedi};

pub(crate) const NAMES: &[&str] =
    &["deploy.noop_s", "deploy.noop_rss_mb", "plan.1000_s", "plan.1000_rss_mb", ORCHESTRATOR];
const ORCHESTRATOR: &str = "state.orchestrator_rss_mb";

/// The sandbox's name.
const SANDBOX: &str = "bench";
/// How often each is run; the median counts, and the most memory.
const RUNS: usize = 5;

/// Measures them.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let sandbox = Sandbox::up()?;
    let folder = tempfile::tempdir()?;
    let mut measured = Vec::new();
    if options.wants("plan.1000") {
        let count = options.amount(1000);
        let path = folder.path().join("many");
        inventory::with_many(&path, count)?;
        let took = sandbox.repeated(&path, &["plan"])?;
        let note = format!("`fedi plan` of {count} new deployments on 2 hosts; median and most of {RUNS}");
        measured.extend(figures(["plan.1000_s", "plan.1000_rss_mb"], &took, [2.0, 150.0], &note));
    }
    let path = folder.path().join("one");
    if options.wants("deploy.noop") || options.wants(ORCHESTRATOR) {
        inventory::with_matrix(&path)?;
        sandbox.fedi(&path, &["deploy", "--yes", "matrix"])?;
    }
    if options.wants("deploy.noop") {
        // Ends with another code if there were something to do.
        sandbox.fedi(&path, &["plan", "--check", "matrix"])?;
        let took = sandbox.repeated(&path, &["deploy", "--yes", "matrix"])?;
        let note = format!("a real guest that runs Synapse; median and most of {RUNS}");
        measured.extend(figures(["deploy.noop_s", "deploy.noop_rss_mb"], &took, [1.0, 60.0], &note));
    }
    if options.wants(ORCHESTRATOR) {
        let create = sandbox.fedi(&path, &["backup", "create", "matrix"])?.rss_mib;
        let restore = sandbox.fedi(&path, &["backup", "restore", "matrix", "--replace-data", "matrix"])?.rss_mib;
        let note = format!("`fedi backup create` {create:.1}, `restore` in place {restore:.1}");
        measured.push(Measurement::new(ORCHESTRATOR, create.max(restore), "MiB", Some(100.0)).noting(note));
    }
    Ok(measured)
}

fn figures([time, memory]: [&str; 2], took: &[Took], [most_s, most_mib]: [f64; 2], note: &str) -> [Measurement; 2] {
    let seconds = median(took.iter().map(|it| it.seconds).collect());
    let rss = took.iter().map(|it| it.rss_mib).fold(0.0, f64::max);
    [
        Measurement::new(time, seconds, "s", Some(most_s)).noting(note),
        Measurement::new(memory, rss, "MiB", Some(most_mib)),
    ]
}

/// A sandbox that is up.
struct Sandbox {
    fedi: PathBuf,
    _down: Tidy,
}

impl Sandbox {
    fn up() -> Result<Self> {
        let fedi = fedi()?;
        let down = Tidy::new({
            let fedi = fedi.clone();
            move || {
                if let Err(error) = outside(&fedi, "down") {
                    eprintln!("warning: the sandbox `{SANDBOX}` may still be up: {error:#}");
                }
            }
        });
        if let Err(error) = outside(&fedi, "up") {
            return Err(NotHere(format!("no sandbox: {error:#}")).into());
        }
        Ok(Self { fedi, _down: down })
    }

    /// Runs `fedi` inside and measures that process alone.
    fn fedi(&self, inventory: &Path, words: &[&str]) -> Result<Took> {
        let fedi = self.fedi.display().to_string();
        let inventory = inventory.display().to_string();
        let task = Task::program(&[&[fedi.as_str(), "--inventory", &inventory], words].concat());
        let mut inside = Command::new(&self.fedi);
        inside.args(["sandbox", "run", "--name", SANDBOX]).arg(std::env::current_exe()?);
        task.run_by(inside).with_context(|| format!("`fedi {}` in the sandbox", words.join(" ")))
    }

    fn repeated(&self, inventory: &Path, words: &[&str]) -> Result<Vec<Took>> {
        (0..RUNS).map(|_| self.fedi(inventory, words)).collect()
    }
}

/// Brings the sandbox up or down.
fn outside(fedi: &Path, verb: &str) -> Result<()> {
    let mut command = Command::new(fedi);
    let output = command.args(["--quiet", "sandbox", verb, "--name", SANDBOX]).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.lines().next().unwrap_or("it does not say why").trim_start_matches("error: "));
    }
    Ok(())
}
