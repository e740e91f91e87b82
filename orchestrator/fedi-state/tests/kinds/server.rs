//! Servers that tests start: each in a folder of its own, as an unprivileged user,
//! on a socket there; ended with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fedi_state::Account;

use crate::support::{Place, is_root};

/// Gives up on a server that does not come up.
const LIMIT: Duration = Duration::from_secs(120);

/// A running server.
pub(crate) struct Server {
    child: Child,
    stop: rustix::process::Signal,
}

impl Server {
    pub(crate) fn start(command: Command, account: Account, stop: rustix::process::Signal) -> Self {
        let mut command = as_user(command, account);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), stop }
    }

    /// Waits until `up` holds.
    pub(crate) fn until(&mut self, what: &str, up: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !up() {
            assert!(Instant::now() < end, "{what} did not come up");
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{what} ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        if self.child.try_wait().unwrap().is_none() {
            rustix::process::kill_process(pid, self.stop).unwrap();
        }
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn as_user(mut command: Command, account: Account) -> Command {
    use std::os::unix::process::CommandExt as _;
    if rustix::process::geteuid().as_raw() != account.uid {
        command.gid(account.gid).uid(account.uid);
    }
    command.current_dir("/");
    command
}

/// The user that a server runs as: the package's where we are root, else ourselves.
pub(crate) fn account(place: &Place, name: &str) -> Account {
    if is_root() {
        return place.accounts.user(name).unwrap();
    }
    Account { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// A folder that belongs to a user.
pub(crate) fn folder_of(path: &Path, account: Account) {
    std::fs::create_dir_all(path).unwrap();
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).unwrap();
}

/// Copies a folder with all that its files have.
pub(crate) fn copy_as(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// The first of these programs that is there.
pub(crate) fn program(names: &[&str]) -> Option<PathBuf> {
    names.iter().map(PathBuf::from).find(|path| path.is_file())
}
