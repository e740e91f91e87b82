//! Programs that the agent runs: with a time limit, in a process group of their
//! own, without standard input. Arguments never hold secrets.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::GuestError;

/// Limit for programs that only ask or tell systemd something.
pub(crate) const SHORT: Duration = Duration::from_secs(30);

/// Largest output that is kept, in bytes.
const MAX_OUTPUT: u64 = 4 * 1024 * 1024;

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end; its exit status is the caller's to judge.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<Output, GuestError> {
    let name = describe(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(command)?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let status = wait(&mut child, &name, limit)?;
    Ok(Output { status, stdout: finish(stdout), stderr: finish(stderr) })
}

/// Runs a program to its end and returns what it wrote to standard output.
pub(crate) fn succeed(command: Command, limit: Duration) -> Result<String, GuestError> {
    let name = describe(&command);
    let output = run(command, limit)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(GuestError::Tool { program: name, status: status_text(output.status), output: last_line(&output.stderr) })
}

/// Starts a program in a process group of its own.
pub(crate) fn start(mut command: Command) -> Result<Child, GuestError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0).spawn().map_err(|source| GuestError::Start { program, source })
}

/// Waits for a program that [`start`] began; kills its process group at the limit.
pub(crate) fn wait(child: &mut Child, name: &str, limit: Duration) -> Result<ExitStatus, GuestError> {
    let lost = |source| GuestError::Start { program: name.to_owned(), source };
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| lost(error.into()))?;
    if !ready_within(&process, limit).map_err(|error| lost(error.into()))? {
        // The group may have gone in this moment; then there is nothing to kill.
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait().map_err(lost)?;
        let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX);
        return Err(GuestError::Timeout { what: format!("`{name}`"), seconds });
    }
    child.wait().map_err(lost)
}

/// Whether a descriptor becomes readable within `limit`.
pub(crate) fn ready_within(fd: &OwnedFd, limit: Duration) -> rustix::io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map(|ready| ready > 0),
        }
    }
}

/// How a program ended, in words.
pub(crate) fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// The last line that is not empty.
pub(crate) fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn describe(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    match command.get_args().next() {
        Some(argument) => format!("{program} {}", argument.to_string_lossy()),
        None => program.into_owned(),
    }
}

type Reader = std::thread::JoinHandle<Vec<u8>>;

fn collect(stream: impl Read + Send + 'static) -> Reader {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut stream = stream.take(MAX_OUTPUT);
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

fn finish(reader: Option<Reader>) -> String {
    let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorKind;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn tells_how_it_ended() {
        let error = succeed(shell("echo first >&2; echo why >&2; exit 3"), SHORT).unwrap_err();
        assert_eq!(error.to_string(), "`/bin/sh -c` ended with exit status 3: why");
        assert_eq!(succeed(shell("echo yes"), SHORT).unwrap(), "yes\n");
    }

    #[test]
    fn a_missing_program_is_its_own_kind() {
        let error = run(Command::new("/nonexistent/tool"), SHORT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ToolMissing);
    }

    #[test]
    fn the_limit_kills_the_whole_group() {
        let error = run(shell("sleep 1000 & wait"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
}
