//! Follows an activation from a session: hands on its output and phases until it
//! comes to rest. The session may end at any time; the supervisor does not notice.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use uuid::Uuid;

use super::activation::{Record, Store, is_final};
use super::operations::Launcher;
use crate::command::ready_within;
use crate::error::GuestError;
use crate::protocol::{ErrorKind, Event, Phase};

/// How often to ask systemd for the supervisor while nothing else happens.
const ASK_AFTER: Duration = Duration::from_secs(3);

/// Wakes up when something in a folder changes.
pub(super) struct Watch {
    folder: PathBuf,
    inotify: OwnedFd,
}

impl Watch {
    pub(super) fn on(folder: &Path) -> Result<Self, GuestError> {
        let failed = |error: rustix::io::Errno| GuestError::file("watch", folder)(error.into());
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        add_watch(&inotify, folder, WatchFlags::MOVED_TO | WatchFlags::MODIFY | WatchFlags::CREATE).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), inotify })
    }

    /// Waits for a change, at most `limit`.
    pub(super) fn wait(&self, limit: Duration) -> Result<(), GuestError> {
        let failed = |error: rustix::io::Errno| GuestError::file("watch", &self.folder)(error.into());
        if ready_within(&self.inotify, limit).map_err(failed)? {
            let mut buffer = [0_u8; 4096];
            loop {
                match rustix::io::read(&self.inotify, &mut buffer) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(())
    }
}

/// Follows until the activation waits for its confirmation (with `until_waiting`)
/// or nothing more will happen.
pub(super) fn follow(
    store: &Store,
    token: Uuid,
    launcher: &dyn Launcher,
    until_waiting: bool,
    emit: &mut dyn FnMut(Event),
) -> Result<Record, GuestError> {
    let watch = Watch::on(store.folder())?;
    let mut output = Output { path: store.output(), at: 0, partial: Vec::new() };
    let mut seen = None;
    let mut asked = Instant::now();
    loop {
        let record = store.get(token)?;
        let phase = &record.activation.phase;
        output.emit_new(emit)?;
        if seen.as_ref() != Some(phase) {
            seen = Some(phase.clone());
            asked = Instant::now();
            emit(Event::Phase { phase: phase.clone() });
        }
        if is_final(phase) || (until_waiting && matches!(phase, Phase::Waiting { .. })) {
            output.emit_rest(emit);
            return Ok(record);
        }
        if asked.elapsed() >= ASK_AFTER {
            asked = Instant::now();
            // Look again: it may have come to its end between the two questions.
            if !launcher.alive(token)? && !is_final(&store.get(token)?.activation.phase) {
                let message = format!("The supervisor of activation {token} is gone");
                return Err(GuestError::refused(ErrorKind::ToolFailed, message)
                    .with_hint("Activate with the same token again: it is taken up where it stopped"));
            }
        }
        watch.wait(ASK_AFTER)?;
    }
}

/// Reads a growing file by lines.
struct Output {
    path: PathBuf,
    at: u64,
    partial: Vec<u8>,
}

impl Output {
    fn emit_new(&mut self, emit: &mut dyn FnMut(Event)) -> Result<(), GuestError> {
        let mut file = File::open(&self.path).map_err(GuestError::file("open", &self.path))?;
        file.seek(SeekFrom::Start(self.at)).map_err(GuestError::file("read", &self.path))?;
        let mut chunk = [0_u8; 8192];
        loop {
            let read = file.read(&mut chunk).map_err(GuestError::file("read", &self.path))?;
            if read == 0 {
                return Ok(());
            }
            self.at += read as u64;
            for byte in &chunk[..read] {
                if *byte == b'\n' || self.partial.len() >= 4096 {
                    self.emit_rest(emit);
                }
                if *byte != b'\n' {
                    self.partial.push(*byte);
                }
            }
        }
    }

    fn emit_rest(&mut self, emit: &mut dyn FnMut(Event)) {
        if !self.partial.is_empty() {
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned();
            emit(Event::Output { line });
        }
    }
}
