//! Real name servers and a network that fails on request, for tests here and
//! in crates above (feature `testing`).
//!
//! Every server is a process of its own on a free loopback port, with its
//! files in a temporary directory, and is gone when its value is dropped.

mod bind;
mod pdns;
mod proxy;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context as _, Result, bail};

pub use bind::Bind;
pub use pdns::Pdns;
pub use proxy::{Fault, Proxy, is_dns_update, is_http_read, is_http_write};

use crate::{Interpreter, Process, Venv, VenvSpec};

/// Says on stderr that a test did not run and why, and counts it in the file
/// that `FEDI_SKIP_LOG` names.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(path) = std::env::var_os("FEDI_SKIP_LOG")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{why}");
    }
}

/// A worker process with the environment that setup made, or made now.
/// `None`, with a skip said, when there is no Python that could be used.
pub async fn process() -> Option<Process> {
    venv().await.map(|_| Process::new(Interpreter::Managed { dir: venv_dir(), spec: VenvSpec::default() }))
}

/// The environment that setup made, or made now; `None` as above.
pub async fn venv() -> Option<Venv> {
    match Venv::ensure(&venv_dir(), &VenvSpec::default()).await {
        Ok(venv) => Some(venv),
        Err(error) => {
            skip(&format!("no octoDNS environment: {error}"));
            None
        }
    }
}

/// `~/.cache/fedi/venvs`, as the program itself uses.
fn venv_dir() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("fedi").join("venvs")
}

/// The server program `name`, or a skip.
fn program(name: &str) -> Option<PathBuf> {
    for dir in ["/usr/sbin", "/usr/bin", "/usr/local/sbin"] {
        let path = Path::new(dir).join(name);
        if path.exists() {
            return Some(path);
        }
    }
    skip(&format!("{name} is not installed"));
    None
}

/// A loopback port that is free for both TCP and UDP right now.
fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free for TCP and UDP")
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A process that ends with its value.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_owned();
        command.spawn().map(Self).with_context(|| format!("Failed to start {}", program.display()))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
