//! Running the tools that do the bulk work: in a process group of their own, which
//! is ended when the operation is called off. Arguments never hold secrets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::StateError;
use crate::work::Work;

/// How often a running tool is looked after, in nanoseconds.
const TICK: i64 = 100_000_000;
/// Largest answer that is kept, in bytes.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
/// From here on no more of standard error is kept, in bytes.
const MAX_ERRORS: usize = 16 * 1024 * 1024;
/// Largest tail of standard error that an error carries, in bytes.
const MAX_TAIL: usize = 4096;

/// What a tool gets on standard input.
pub(crate) enum Input<'a> {
    Nothing,
    /// A secret or a script; goes through a pipe.
    Bytes(&'a [u8]),
    File(File),
}

/// How a tool ended and what it wrote.
pub(crate) struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A tool's process group, which is killed when this is dropped before its end.
struct Group {
    child: Child,
    ended: bool,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            // The group may have gone in this moment; then there is nothing to kill.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a tool to its end; its exit status is the caller's to judge. `tick` is
/// called about ten times a second.
pub(crate) fn run(
    work: &Work,
    command: Command,
    input: Input<'_>,
    tick: &mut dyn FnMut() -> Result<(), StateError>,
) -> Result<Output, StateError> {
    run_into(work, command, input, Some(collect), &mut |_| tick())
}

/// As [`run`]; `on_error` is called as often, with what came on standard error since.
pub(crate) fn heed(
    work: &Work,
    command: Command,
    input: Input<'_>,
    on_error: &mut dyn FnMut(&str) -> Result<(), StateError>,
) -> Result<Output, StateError> {
    run_into(work, command, input, Some(collect), on_error)
}

/// As [`heed`], with every line of standard output given to `on_line` as it comes;
/// none is kept.
pub(crate) fn follow(
    work: &Work,
    command: Command,
    input: Input<'_>,
    on_line: &mut dyn FnMut(&str) -> Result<(), StateError>,
    on_error: &mut dyn FnMut(&str) -> Result<(), StateError>,
) -> Result<Output, StateError> {
    let (send, lines) = mpsc::channel();
    let forward = |stdout: ChildStdout| {
        std::thread::spawn(move || {
            // A line that cannot be read or is not waited for is the end of it.
            BufReader::new(stdout).lines().map_while(Result::ok).all(|line| send.send(line).is_ok());
            Vec::new()
        })
    };
    let output = run_into(work, command, input, Some(forward), &mut |said| {
        on_error(said)?;
        lines.try_iter().try_for_each(|line| on_line(&line))
    })?;
    lines.iter().try_for_each(|line| on_line(&line))?;
    Ok(output)
}

/// As [`run`], with standard output going into a file.
pub(crate) fn run_to_file(
    work: &Work,
    mut command: Command,
    file: File,
    tick: &mut dyn FnMut() -> Result<(), StateError>,
) -> Result<Output, StateError> {
    command.stdout(file);
    run_into(work, command, Input::Nothing, None::<fn(ChildStdout) -> Reader>, &mut |_| tick())
}

fn run_into(
    work: &Work,
    mut command: Command,
    input: Input<'_>,
    keep: Option<impl FnOnce(ChildStdout) -> Reader>,
    tick: &mut dyn FnMut(&str) -> Result<(), StateError>,
) -> Result<Output, StateError> {
    work.check()?;
    let program = name(&command);
    let failed = |source| StateError::Start { program: program.clone(), source };
    let (stdin, bytes) = match input {
        Input::Nothing => (Stdio::null(), None),
        Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
        Input::File(file) => (file.into(), None),
    };
    command.stdin(stdin).stderr(Stdio::piped()).process_group(0);
    if keep.is_some() {
        command.stdout(Stdio::piped());
    }
    let mut group = Group { child: command.spawn().map_err(failed)?, ended: false };
    let stdout = group.child.stdout.take().zip(keep).map(|(stdout, keep)| keep(stdout));
    let mut errors = Errors::of(group.child.stderr.take());
    if let (Some(bytes), Some(mut pipe)) = (bytes, group.child.stdin.take()) {
        // A tool that ends before it has read all says why itself.
        match pipe.write_all(bytes) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let process = pidfd_open(group.pid(), PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    let pause = Timespec { tv_sec: 0, tv_nsec: TICK };
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&pause)) {
            Ok(ready) if ready > 0 => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                work.check()?;
                tick(errors.news())?;
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    let status = group.child.wait().map_err(failed)?;
    group.ended = true;
    Ok(Output { status, stdout: finish(stdout), stderr: errors.all() })
}

/// Runs a tool that must succeed; returns what it wrote to standard output.
pub(crate) fn succeed(work: &Work, command: Command, input: Input<'_>) -> Result<Vec<u8>, StateError> {
    let program = name(&command);
    let output = run(work, command, input, &mut || Ok(()))?;
    if output.status.success() { Ok(output.stdout) } else { Err(failure(&program, &output)) }
}

/// The error of a tool that ended badly.
pub(crate) fn failure(program: &str, output: &Output) -> StateError {
    let text = output.stderr.trim();
    let mut from = text.len().saturating_sub(MAX_TAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    StateError::Tool { program: program.to_owned(), status: status(output.status), output: text[from..].to_owned() }
}

/// A command's program without its folder.
pub(crate) fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// How a program ended, in words.
fn status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// What a tool writes to standard error, while it runs.
struct Errors {
    lines: mpsc::Receiver<String>,
    text: String,
}

impl Errors {
    fn of(stderr: Option<ChildStderr>) -> Self {
        let (send, lines) = mpsc::channel();
        if let Some(stderr) = stderr {
            std::thread::spawn(move || {
                let mut stderr = BufReader::new(stderr);
                let mut line = Vec::new();
                while stderr.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                    // Who no longer listens lets the tool go on; it must not wait for us.
                    let _ = send.send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
                }
            });
        }
        Self { lines, text: String::new() }
    }

    /// The lines since the last call.
    fn news(&mut self) -> &str {
        let from = self.text.len();
        while let Ok(line) = self.lines.try_recv() {
            self.keep(&line);
        }
        &self.text[from..]
    }

    /// All of it, once the tool has ended.
    fn all(mut self) -> String {
        while let Ok(line) = self.lines.recv() {
            self.keep(&line);
        }
        self.text
    }

    fn keep(&mut self, line: &str) {
        if self.text.len() < MAX_ERRORS {
            self.text.push_str(line);
        }
    }
}

type Reader = JoinHandle<Vec<u8>>;

fn collect(stream: impl Read + Send + 'static) -> Reader {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut stream = stream;
        // What was read before an error is still worth showing; the rest is read
        // away, so that the tool does not wait for us.
        let _ = (&mut stream).take(MAX_ANSWER).read_to_end(&mut bytes);
        let _ = io::copy(&mut stream, &mut io::sink());
        bytes
    })
}

fn finish(reader: Option<Reader>) -> Vec<u8> {
    reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorClass;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn tells_how_it_ended() {
        let work = Work::default();
        let error = succeed(&work, shell("echo why >&2; exit 3"), Input::Nothing).unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with exit status 3: why");
        assert_eq!(succeed(&work, shell("cat"), Input::Bytes(b"yes")).unwrap(), b"yes");
        let missing = succeed(&work, Command::new("/nonexistent/tool"), Input::Nothing).unwrap_err();
        assert_eq!(missing.class(), ErrorClass::Missing);
    }

    #[test]
    fn calling_off_ends_the_whole_group() {
        let work = Work::default();
        let cancel = work.cancel.clone();
        let mut called = || {
            cancel.cancel();
            Ok(())
        };
        let result = run(&work, shell("sleep 1000 & wait"), Input::Nothing, &mut called);
        assert_eq!(result.err().unwrap().class(), ErrorClass::Cancelled);
    }
}
