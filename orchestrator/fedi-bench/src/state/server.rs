//! Servers for a measurement: each in a folder of its own, ended with its guard, also at
//! a signal.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fedi_state::Account;
use rustix::process::{Pid, Signal, kill_process};

use crate::tidy::Tidy;

/// Gives up on a server that does not come up.
const LIMIT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Arc<Mutex<std::process::Child>>,
    _end: Tidy,
}

impl Server {
    /// Starts it as that user; `stop` ends it.
    pub(crate) fn start(command: Command, account: Account, stop: Signal) -> Result<Self> {
        let mut command = as_user(command, account);
        // Not in the terminal's group: Ctrl-C is for this program, which ends its servers.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Arc::new(Mutex::new(command.spawn().context("Failed to start a server")?));
        let end = Tidy::new({
            let child = child.clone();
            move || {
                let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(child.try_wait(), Ok(None)) && kill_process(Pid::from_child(&child), stop).is_ok() {
                    let _ = child.wait();
                }
            }
        });
        Ok(Self { child, _end: end })
    }

    /// Waits until `up` holds.
    pub(crate) fn until(&self, what: &str, up: impl Fn() -> bool) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while !up() {
            let ended = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait()?;
            if let Some(status) = ended {
                bail!("{what} ended with {status}");
            }
            if Instant::now() > end {
                bail!("{what} did not come up in {} s", LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// The command as another user, where we are not that one already.
pub(crate) fn as_user(mut command: Command, account: Account) -> Command {
    if rustix::process::geteuid().as_raw() != account.uid {
        command.gid(account.gid).uid(account.uid);
    }
    command.current_dir("/");
    command
}
