//! Servers of repositories that tests start: a real Garage, sshd and `rclone serve
//! restic`, a front that speaks TLS before one, and one that breaks off. Other crates'
//! tests include this folder by its path.
#![allow(dead_code, reason = "each crate that includes it uses another part")]

pub(crate) mod between;
pub(crate) mod cut;
pub(crate) mod garage;
pub(crate) mod rest;
pub(crate) mod sshd;
pub(crate) mod tls;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Gives up on a server that does not come up.
const LIMIT: Duration = Duration::from_secs(120);

/// A running server, ended when dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits until `up` holds.
    pub(crate) fn until(&mut self, what: &str, up: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !up() {
            assert!(Instant::now() < end, "{what} did not come up");
            if let Some(status) = self.0.try_wait().unwrap() {
                panic!("{what} ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program that goes on for long, and holds nothing that is open here: where agents are in
/// this process, their locks are handed on to programs on purpose.
pub(crate) fn alone(program: &Path) -> Command {
    let mut command = Command::new("bash");
    let close = r#"for fd in $(ls /proc/$$/fd); do [ "$fd" -le 2 ] || eval "exec $fd>&-"; done; exec "$@""#;
    command.args(["-c", close, "bash"]).arg(program);
    command
}

/// A port that nobody has.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Says that a test cannot run here.
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(file, "repositories: {why}").unwrap();
    }
    None
}

/// A program that is installed, or says so.
pub(crate) fn program(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    if path.is_file() { Some(path.to_owned()) } else { skipped(&format!("`{}` is not installed", path.display())) }
}
