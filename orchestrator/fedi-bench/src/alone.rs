//! Work in a process of its own, so that its memory is its own: this program starts
//! itself with `--alone` and tells it on stdin what to do.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::state::task::StateTask;

/// What is done alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Runs a program; its memory is its own, without that of programs which it starts.
    Program {
        /// With its arguments.
        words: Vec<String>,
        /// Exit codes that are as they should be.
        fine: Vec<i32>,
    },
    /// Something of `fedi-state`; its memory is this process' own.
    State(StateTask),
}

/// What it took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Took {
    /// Seconds.
    pub(crate) seconds: f64,
    /// Peak of the memory that was resident, MiB.
    pub(crate) rss_mib: f64,
}

impl Task {
    /// A program that should end with 0.
    pub(crate) fn program(words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self::Program { words, fine: vec![0] }
    }

    /// Has it done by a process of its own.
    pub(crate) fn run(&self) -> Result<Took> {
        self.run_by(Command::new(std::env::current_exe()?))
    }

    /// The same by a command that ends in this program's path.
    pub(crate) fn run_by(&self, mut command: Command) -> Result<Took> {
        command.arg("--alone").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&serde_json::to_vec(self)?)?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("a process of its own failed, see above");
        }
        serde_json::from_slice(&output.stdout).context("The process of its own said something else")
    }
}

/// The process of its own.
pub(crate) fn answer() -> Result<()> {
    let took = match serde_json::from_reader(std::io::stdin())? {
        Task::Program { words, fine } => program(&words, &fine)?,
        Task::State(task) => {
            let seconds = task.carry_out()?;
            Took { seconds, rss_mib: peak("self")? }
        }
    };
    println!("{}", serde_json::to_string(&took)?);
    Ok(())
}

/// How often a program is looked at, to see how large it became.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a program and looks at its peak until it ends: what the kernel says afterwards is
/// that of the largest process, whoever started it. This process has done nothing before,
/// so that what the child had of it before its `exec` is small.
fn program(words: &[String], fine: &[i32]) -> Result<Took> {
    let [program, arguments @ ..] = words else { bail!("no program") };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let child = command.spawn().with_context(|| format!("Failed to run `{program}`"))?;
    let pid = child.id().to_string();
    let (ended, is_over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let mut most = 0.0_f64;
        while is_over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            // None once it has ended.
            most = most.max(peak(&pid).unwrap_or(0.0));
        }
        most
    });
    let output = child.wait_with_output().with_context(|| format!("Failed to run `{program}`"))?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(ended);
    let rss_mib = watch.join().map_err(|_| anyhow!("what looks at the memory broke"))?;
    if !output.status.code().is_some_and(|code| fine.contains(&code)) {
        bail!("`{}` ended with {}: {}", words.join(" "), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(Took { seconds, rss_mib })
}

/// The most memory that a process, a number or `self`, ever had resident, MiB.
fn peak(process: &str) -> Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(process).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
