//! What every operation is given: who watches it, how it is called off, where the
//! tools are.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{ErrorClass, StateError};

/// Shortest time between two reports of progress.
const PACE: Duration = Duration::from_millis(500);

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is going on: `copy /var/lib/matrix-synapse/media`.
    pub what: String,
    /// Bytes done.
    pub bytes: u64,
    /// Of how many, where that is known; an estimate for databases.
    pub of_bytes: Option<u64>,
    /// Files, rows or objects done, where they are counted.
    pub count: u64,
    /// Bytes a second since the operation began.
    pub rate: u64,
}

/// Whoever watches.
pub trait Observer: Send + Sync {
    /// Is told now and then how far it is, never more than about twice a second.
    fn progress(&self, progress: &Progress);
    /// Is told what the operator should know.
    fn notice(&self, message: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&self, _: &Progress) {}
    fn notice(&self, _: &str) {}
}

/// Calls an operation off, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the operation to end; it leaves the source as it was.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where the tools are.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// Folders that are looked in before `PATH`, such as the database server's own `bin`.
    pub folders: Vec<PathBuf>,
}

impl Tools {
    /// The program's path, if it is there.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        let folders = self.folders.iter().cloned().chain(std::env::split_paths(&path));
        folders.map(|folder| folder.join(program)).find(|file| file.is_file())
    }

    /// A command of that program; one that is not there fails when it starts.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.find(program).unwrap_or_else(|| program.into()));
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

/// What an operation is given.
#[derive(Clone)]
pub struct Work {
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// How it is called off.
    pub cancel: Cancel,
    /// Where the tools are.
    pub tools: Tools,
    /// How many of a tool's processes may work side by side.
    pub jobs: u32,
}

impl Default for Work {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8);
        Self {
            observer: Arc::new(Silent),
            cancel: Cancel::default(),
            tools: Tools::default(),
            jobs: u32::try_from(jobs).unwrap_or(2),
        }
    }
}

impl Work {
    /// Fails if the operation was called off.
    pub fn check(&self) -> Result<(), StateError> {
        if self.cancel.is_cancelled() {
            return Err(StateError::refused(ErrorClass::Cancelled, "Called off"));
        }
        Ok(())
    }

    /// Begins to measure something.
    pub fn meter(&self, what: impl Into<String>, of_bytes: Option<u64>) -> Meter<'_> {
        let now = Instant::now();
        Meter { work: self, what: what.into(), bytes: 0, of_bytes, count: 0, began: now, told: now }
    }
}

/// Counts what is done and tells it at an even pace.
pub struct Meter<'a> {
    work: &'a Work,
    what: String,
    bytes: u64,
    of_bytes: Option<u64>,
    count: u64,
    began: Instant,
    told: Instant,
}

impl Meter<'_> {
    /// Adds what was done; fails if the operation was called off.
    pub fn add(&mut self, bytes: u64, count: u64) -> Result<(), StateError> {
        self.set(self.bytes + bytes, self.count + count)
    }

    /// Says how much there will be in all, as far as is known by now.
    pub fn expect(&mut self, of_bytes: u64) {
        self.of_bytes = Some(of_bytes);
    }

    /// Says how much is done in all; fails if the operation was called off.
    pub fn set(&mut self, bytes: u64, count: u64) -> Result<(), StateError> {
        self.work.check()?;
        (self.bytes, self.count) = (bytes, count);
        let now = Instant::now();
        if now.duration_since(self.told) >= PACE {
            self.told = now;
            self.tell(now);
        }
        Ok(())
    }

    /// Tells the final figures.
    pub fn finish(self) {
        self.tell(Instant::now());
    }

    fn tell(&self, now: Instant) {
        let micros = now.duration_since(self.began).as_micros().max(1);
        let rate = u128::from(self.bytes) * 1_000_000 / micros;
        self.work.observer.progress(&Progress {
            what: self.what.clone(),
            bytes: self.bytes,
            of_bytes: self.of_bytes,
            count: self.count,
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
        });
    }
}
