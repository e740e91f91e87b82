//! The worker process: started when first needed, kept for several requests,
//! closed cleanly, replaced when it died.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{Error, VenvError};
use crate::protocol::{self, Hello, Reply};
use crate::venv::{Venv, VenvSpec};

/// The worker, the first of them the one to run.
const SCRIPTS: [(&str, &str); 6] = [
    ("fedi_octodns.py", include_str!("../python/fedi_octodns.py")),
    ("fedi_errors.py", include_str!("../python/fedi_errors.py")),
    ("fedi_records.py", include_str!("../python/fedi_records.py")),
    ("fedi_request.py", include_str!("../python/fedi_request.py")),
    ("fedi_scope.py", include_str!("../python/fedi_scope.py")),
    ("fedi_update.py", include_str!("../python/fedi_update.py")),
];
const SUPPORTED: &str = ">=1.22,<2";
/// First imports from a cold disk, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A zone of a hundred thousand records fits.
const LONGEST_LINE: u64 = 64 << 20;

/// Which Python runs octoDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// An environment of our own below `dir`, made when it is missing.
    Managed { dir: PathBuf, spec: VenvSpec },
    /// An operator's interpreter that has octoDNS and the provider installed.
    Existing(PathBuf),
}

/// A handle on one worker process. Clones share it; requests go one by one.
#[derive(Debug, Clone)]
pub struct Process {
    interpreter: Interpreter,
    worker: Arc<Mutex<Option<Worker>>>,
}

/// How a request ended without an answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The worker did not start, so nothing was asked of it.
    Start(Error),
    /// No answer in time; the worker was killed.
    Timeout,
    /// The worker died or answered nonsense.
    Broken(String),
}

impl Process {
    /// A handle; nothing is started yet.
    pub fn new(interpreter: Interpreter) -> Self {
        Self { interpreter, worker: Arc::default() }
    }

    /// Starts the worker now, so that the first request need not wait for it.
    pub async fn warm_up(&self) -> Result<(), Error> {
        let mut slot = self.worker.lock().await;
        if slot.is_none() {
            *slot = Some(self.start().await?);
        }
        Ok(())
    }

    /// Ends the worker and waits for it. It is started again if needed.
    pub async fn close(&self) {
        if let Some(worker) = self.worker.lock().await.take() {
            worker.close().await;
        }
    }

    /// Sends the line that `make` builds for a request number and waits for
    /// its answer.
    ///
    /// A caller that stops waiting loses the worker, so that a late answer
    /// is never taken for another request's.
    pub(crate) async fn call<L: AsRef<[u8]>>(
        &self,
        make: impl FnOnce(u64) -> Result<L, Error>,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        let mut slot = self.worker.lock().await;
        // one that died idle lost no request and is replaced
        let idle = slot.take().and_then(Worker::if_alive);
        let mut worker = match idle {
            Some(worker) => worker,
            None => self.start().await.map_err(CallError::Start)?,
        };
        worker.requests += 1;
        let id = worker.requests;
        let line = make(id).map_err(CallError::Start)?;
        let reply = match tokio::time::timeout(timeout, worker.exchange(line.as_ref())).await {
            Err(_) => return Err(CallError::Timeout),
            Ok(Err(message)) => return Err(CallError::Broken(worker.epitaph(message).await)),
            Ok(Ok(reply)) => reply,
        };
        if reply.id != Some(id) {
            return Err(CallError::Broken("an answer to another question".into()));
        }
        *slot = Some(worker);
        Ok(reply)
    }

    async fn start(&self) -> Result<Worker, Error> {
        let (dir, spec) = match &self.interpreter {
            Interpreter::Existing(python) => return Ok(Worker::start(python).await?),
            Interpreter::Managed { dir, spec } => (dir, spec),
        };
        let venv = Venv::ensure(dir, spec).await?;
        match Worker::start(&venv.python()).await {
            Err(VenvError::Broken(why)) => {
                tracing::warn!(%why, "octoDNS does not start, installing it anew");
                let venv = Venv::repair(dir, spec).await?;
                Ok(Worker::start(&venv.python()).await?)
            }
            started => Ok(started?),
        }
    }
}

#[derive(Debug)]
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
    requests: u64,
    // removed when the worker is dropped
    _directory: TempDir,
}

impl Worker {
    async fn start(python: &Path) -> Result<Self, VenvError> {
        let directory = script_directory()?;
        let mut child = Command::new(python)
            // isolated: no PYTHONPATH, no user packages; and no bytecode left behind
            .args(["-I", "-B", "-X", "utf8"])
            .arg(directory.path().join(SCRIPTS[0].0))
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on the terminal is ours to handle, not the worker's
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => VenvError::NoPython(python.to_owned()),
                _ => failed("run", python, source),
            })?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(VenvError::Broken("it has no pipes".into()));
        };
        let mut worker = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            stderr: tokio::spawn(tail(stderr)),
            requests: 0,
            _directory: directory,
        };
        worker.greet().await?;
        Ok(worker)
    }

    async fn greet(&mut self) -> Result<(), VenvError> {
        let line = match tokio::time::timeout(START_TIMEOUT, self.line()).await {
            Ok(Ok(line)) => line,
            Ok(Err(message)) => return Err(VenvError::Broken(self.epitaph(message).await)),
            Err(_) => return Err(VenvError::Broken("it said nothing for 60 s".into())),
        };
        let hello: Hello = serde_json::from_slice(&line).map_err(|_| VenvError::Broken("it does not greet".into()))?;
        match hello {
            Hello { hello: Some(version), .. } if supported(&version.octodns) => Ok(()),
            Hello { hello: Some(version), .. } => Err(VenvError::Version { found: version.octodns, wanted: SUPPORTED }),
            Hello { error, .. } => {
                Err(VenvError::Broken(error.map_or_else(|| "it does not greet".into(), |error| error.msg)))
            }
        }
    }

    async fn exchange(&mut self, line: &[u8]) -> Result<Reply, String> {
        self.stdin.write_all(line).await.map_err(|error| error.to_string())?;
        protocol::parse(&self.line().await?)
    }

    async fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stdout).take(LONGEST_LINE);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(_) if line.ends_with(b"\n") => Ok(line),
            Ok(_) => Err("it ended".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn if_alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    /// `message` with the last line the process said before it died.
    async fn epitaph(&mut self, message: String) -> String {
        let _ = self.child.start_kill();
        let said = tokio::time::timeout(CLOSE_TIMEOUT, &mut self.stderr).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        match said.trim() {
            "" => message,
            last => format!("{message}: {last}"),
        }
    }

    async fn close(mut self) {
        drop(self.stdin);
        if tokio::time::timeout(CLOSE_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// A directory only we can enter, with the scripts in it.
fn script_directory() -> Result<TempDir, VenvError> {
    let directory = tempfile::Builder::new()
        .prefix("fedi-octodns-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|source| failed("create a directory in", &std::env::temp_dir(), source))?;
    for (name, text) in SCRIPTS {
        let path = directory.path().join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| failed("write", &path, source))?;
    }
    Ok(directory)
}

/// Passes on what the worker logs (it keeps secrets out) and keeps the last
/// line, which is what a Python that dies says why.
async fn tail(stderr: impl AsyncRead + Unpin) -> String {
    let mut lines = BufReader::new(stderr).lines();
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "octodns", "{line}");
        if !line.trim().is_empty() {
            last = line;
        }
    }
    last
}

/// Whether this octoDNS version is one the script was written for.
fn supported(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => minor >= 22,
        _ => false,
    }
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> VenvError {
    VenvError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_bounded_on_both_sides() {
        assert!(supported("1.22.0") && supported("1.30.1"));
        assert!(!supported("1.21.1") && !supported("2.0.0") && !supported("dev"));
    }

    #[test]
    fn nobody_else_reads_the_script_directory() {
        let directory = script_directory().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(directory.path()), 0o700);
        assert_eq!(mode(&directory.path().join(SCRIPTS[0].0)), 0o600);
    }

    #[tokio::test]
    async fn an_interpreter_without_octodns_is_said() {
        let process = Process::new(Interpreter::Existing("/bin/cat".into()));
        let error = process.warm_up().await.unwrap_err();
        assert!(matches!(error, Error::Venv(VenvError::Broken(_))), "{error}");
    }
}
