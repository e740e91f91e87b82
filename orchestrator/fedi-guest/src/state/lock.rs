//! One operation on an application's state at a time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use fedi_model::AppName;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::Session;
use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::ErrorKind;

/// How long one that is being called off is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the lock is asked for.
const PAUSE: Duration = Duration::from_millis(200);

/// Holds the application's state until it is dropped. Programs that are started meanwhile
/// hold it too: where an agent was killed, what it left running is waited for.
pub(crate) fn lock(guest: &Guest, app: &AppName, session: &Session) -> Result<File, GuestError> {
    let path = super::stages(guest)?.join(format!("{app}.lock"));
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let lock = lock.map_err(GuestError::file("open", &path))?;
    fcntl_setfd(&lock, FdFlags::empty()).map_err(|error| GuestError::file("open", &path)(error.into()))?;
    let end = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => {}
            Err(Errno::WOULDBLOCK) => {
                let message = format!("Another operation works on the state of `{app}`");
                return Err(GuestError::refused(ErrorKind::Busy, message)
                    .with_hint("Wait for it; `fuser -v` of its lock file on the guest shows which process it is"));
            }
            Err(error) => return Err(GuestError::file("lock", &path)(error.into())),
        }
        if !told {
            session.say("waiting for another operation on the same state");
            told = true;
        }
        session.alive()?;
        std::thread::sleep(PAUSE);
    }
}
