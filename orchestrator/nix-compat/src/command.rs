//! Starting programs: each in a process group of its own that is ended when the
//! caller loses interest. Asked first and killed later: only a Nix that is asked ends
//! its builders, which have sessions of their own.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::NixError;

/// Largest answer that is read, in bytes: the manifest of a system, not its content.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
/// Longest line of a log that is taken as one.
const MAX_LINE: u64 = 64 * 1024;

/// How a program ended and what it wrote to standard output.
#[derive(Debug)]
pub(crate) struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
}

/// How long a group that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// A program that leads a process group, which is ended when this is dropped.
struct Group {
    child: Option<Child>,
}

impl Group {
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(std::io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        self.child = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let Some(leader) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return };
        // It may have ended in this moment, here and below.
        let _ = kill_process_group(leader, Signal::TERM);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    let _ = kill_process_group(leader, Signal::KILL);
                    let _ = child.wait().await;
                }
            });
        }
    }
}

/// Runs a program to its end; `on_line` gets every line of its standard error.
pub(crate) async fn run(
    mut command: Command,
    limit: Duration,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Finished, NixError> {
    let what = describe(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|source| {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        NixError::Missing { program, source }
    })?;
    let failed = |error: std::io::Error| NixError::Failed { what: what.clone(), message: error.to_string() };
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(std::io::Error::other("its output is not there")));
    };
    let mut group = Group { child: Some(child) };
    let work = async {
        let mut stdout = Vec::new();
        let mut answer = out.take(MAX_ANSWER + 1);
        let (read, lines) = tokio::join!(answer.read_to_end(&mut stdout), lines(err, on_line));
        read.and(lines).map_err(&failed)?;
        if stdout.len() as u64 > MAX_ANSWER {
            return Err(NixError::Answer { what: what.clone(), message: "it is too long".to_owned() });
        }
        let status = group.wait().await.map_err(&failed)?;
        Ok(Finished { status, stdout })
    };
    match tokio::time::timeout(limit, work).await {
        Ok(finished) => finished,
        Err(_) => Err(NixError::Timeout { what: what.clone(), seconds: limit.as_secs() }),
    }
}

async fn lines(stream: impl AsyncRead + Unpin, on_line: &mut (dyn FnMut(&str) + Send)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
    }
}

/// Program and subcommand, for messages.
fn describe(command: &Command) -> String {
    let command = command.as_std();
    let program = command.get_program().to_string_lossy();
    let words = command.get_args().map(|word| word.to_string_lossy());
    let subcommand = words.take_while(|word| !word.starts_with('-')).take(2);
    std::iter::once(program.rsplit('/').next().unwrap_or_default().to_owned())
        .chain(subcommand.map(std::borrow::Cow::into_owned))
        .collect::<Vec<_>>()
        .join(" ")
}
