//! The stand-in for qemu-guest-agent: commands run inside the container through `nsenter`.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use fedi_sim::backend::{BackendError, ExecOutput, Interface};
use ipnet::IpNet;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use uuid::Uuid;

use super::Inner;
use crate::cgroup::Cgroup;
use crate::command::PATH;

/// Made by a unit of the guest root when the system is up; an agent would start at that point.
const READY: &str = "run/sandbox-agent-ready";

/// A way into one running guest.
pub(super) struct Agent {
    leader: i32,
}

impl Inner {
    /// The agent of a guest that runs and is up.
    pub(super) fn agent(&self, uuid: Uuid) -> Result<Agent, BackendError> {
        let cgroup = self.cgroup(uuid);
        if !cgroup.populated() {
            return Err(BackendError::NotRunning(uuid));
        }
        let leader = leader(&cgroup).ok_or(BackendError::NoAgent)?;
        let ready = PathBuf::from(format!("/proc/{leader}/root")).join(READY);
        if fs::symlink_metadata(ready).is_ok() { Ok(Agent { leader }) } else { Err(BackendError::NoAgent) }
    }
}

/// The process that is number 1 inside the guest.
pub(super) fn leader(cgroup: &Cgroup) -> Option<i32> {
    cgroup.processes().into_iter().find(|pid| {
        let ids = field(*pid, "NSpid:").unwrap_or_default();
        let mut ids = ids.split_whitespace();
        ids.next_back() == Some("1") && ids.next().is_some()
    })
}

/// Sends SIGTERM to the systemd-nspawn process above a guest's first process.
pub(super) fn terminate_parent(leader: i32) {
    let parent = field(leader, "PPid:").and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
    if let Some(parent) = parent {
        // It may be gone already, which is what is wanted.
        let _ = kill_process(parent, Signal::TERM);
    }
}

fn field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

impl Agent {
    pub(super) async fn exec(&self, argv: &[String], stdin: &[u8]) -> Result<ExecOutput, BackendError> {
        let failed = |error: std::io::Error| BackendError::Failed(format!("nsenter: {error}"));
        let mut child = Command::new("nsenter")
            .args(["--all", "--target"])
            .arg(self.leader.to_string())
            .args(["--", "env", "-i", &format!("PATH={PATH}"), "LC_ALL=C.UTF-8"])
            .args(argv)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipe = child.stdin.take();
        let feed = async {
            if let Some(mut pipe) = pipe {
                // A command that does not read its input is no error.
                let _ = pipe.write_all(stdin).await;
            }
        };
        let ((), out) = tokio::join!(feed, child.wait_with_output());
        let out = out.map_err(failed)?;
        if out.status.code() == Some(127) && out.stderr.starts_with(b"env: ") {
            // In the words of qemu-guest-agent.
            let program = argv.first().map_or("", String::as_str);
            return Err(BackendError::Guest(format!(
                "Guest agent command failed, error was 'Failed to execute child process \u{201c}{program}\u{201d} \
                 (No such file or directory)'"
            )));
        }
        let signal = std::os::unix::process::ExitStatusExt::signal(&out.status).unwrap_or(0);
        Ok(ExecOutput { status: out.status.code().unwrap_or(128 + signal), stdout: out.stdout, stderr: out.stderr })
    }

    /// A shell line inside the guest; its failure is reported as the agent reports a file's.
    async fn on_file(&self, line: &str, mode: &str, words: &[&str], stdin: &[u8]) -> Result<Vec<u8>, BackendError> {
        let argv: Vec<String> =
            ["sh", "-c", line, "agent"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        let out = self.exec(&argv, stdin).await?;
        if out.status == 0 {
            return Ok(out.stdout);
        }
        let text = String::from_utf8_lossy(&out.stderr);
        let reason = text.trim().rsplit(": ").next().unwrap_or("unknown error");
        Err(BackendError::Guest(format!("failed to open file '{}' (mode: '{mode}'): {reason}", words[0])))
    }

    pub(super) async fn read_file(&self, path: &str, max_bytes: usize) -> Result<Vec<u8>, BackendError> {
        self.on_file("head -c \"$2\" -- \"$1\"", "r", &[path, &max_bytes.to_string()], &[]).await
    }

    pub(super) async fn write_file(&self, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.on_file("cat >\"$1\"", "w", &[path], content).await.map(drop)
    }

    pub(super) async fn interfaces(&self) -> Result<Vec<Interface>, BackendError> {
        let out = self.exec(&["ip", "-json", "address"].map(str::to_owned), &[]).await?;
        let links: Vec<Link> = serde_json::from_slice(&out.stdout)
            .map_err(|error| BackendError::Guest(format!("unreadable list of interfaces: {error}")))?;
        Ok(links.into_iter().map(Interface::from).collect())
    }
}

/// One entry of `ip -json address`.
#[derive(Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: std::net::IpAddr,
    prefixlen: u8,
}

impl From<Link> for Interface {
    fn from(link: Link) -> Self {
        let nets = link.addr_info.into_iter().filter_map(|info| IpNet::new(info.local, info.prefixlen).ok());
        Self { name: link.ifname, mac: link.address.to_lowercase(), addresses: nets.collect() }
    }
}
