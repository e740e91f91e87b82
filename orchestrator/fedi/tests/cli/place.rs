//! A simulated Proxmox VE, and an operator's machine with a host on it. Its guests are state
//! only, and their agent never answers: a deploy comes as far as the VM and waits there.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use fedi_sim::backend::ModelSettings;
use fedi_sim::faults::Command;
use fedi_sim::{SimBuilder, SimHandle, StorageSetup, Tuning, Version, empty_qcow2};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use crate::administrator::administrate;
use crate::name_server;
use crate::support::Machine;

/// A simulated cluster and an operator's machine with one host, `here`, on it.
pub(crate) struct Place {
    pub(crate) sim: SimHandle,
    pub(crate) machine: Machine,
    pub(crate) runtime: Runtime,
}

/// A cluster that does not know of fedi.
pub(crate) fn bare() -> SimBuilder {
    let tuning = Tuning {
        start_delay: Duration::from_millis(20),
        task_delay: Duration::from_millis(5),
        broadcast_interval: Duration::ZERO,
        ..Tuning::default()
    };
    SimBuilder::new(Version::new(9, 2, 11))
        .nodes(&["pve1"])
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .storage(StorageSetup::directory("local-lvm", "/srv/guests"))
        .token("root@pam!admin", false)
        .guests(ModelSettings { agent_dead: true, ..ModelSettings::default() })
        .tuning(tuning)
}

impl Place {
    /// A place where fedi's token may do nothing yet.
    pub(crate) fn bare() -> Self {
        // Only planning asks it.
        Self::with_name_server("127.0.0.1".parse().unwrap())
    }

    pub(crate) fn with_name_server(server: IpAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let cluster = bare().pool("fedi").user("fedi@pve", "unused").token("fedi@pve!deploy", true);
        let sim = runtime.block_on(cluster.start()).unwrap();
        let machine = Machine::with_deployment(&sim.url()).filter(sim.fingerprint(), "[FINGERPRINT]");
        let host = machine.read("inventory/hosts/here/host.toml");
        let start = host.find("00:11:22").unwrap();
        let host = host.replace(&host[start..start + 95], sim.fingerprint()) + &format!("servers = [\"{server}\"]\n");
        machine.write("inventory/hosts/here/host.toml", &host);
        machine.write_private("config/credentials/here/proxmox-token", &sim.token("fedi@pve!deploy").unwrap());
        std::fs::write(machine.path("inventory/guest.qcow2"), empty_qcow2()).unwrap();
        Self { sim, machine, runtime }
    }

    /// A place where fedi may do all that it needs.
    pub(crate) fn ready() -> Option<Self> {
        let place = Self::with_name_server(name_server::start()?);
        place.administrate(&place.machine.fedi("doctor here"));
        place.machine.fedi_with_input("secret set notes mail-password", "x");
        Some(place)
    }

    /// Does what the `pveum` commands in a text ask for.
    pub(crate) fn administrate(&self, text: &str) {
        administrate(&self.runtime, &self.sim, text);
    }

    /// Has something happen to the cluster.
    pub(crate) fn control(&self, command: Command) {
        self.runtime.block_on(self.sim.control(command));
    }

    /// What `fedi LINE` tells from the first line of a run with `word` on, and how it ends.
    pub(crate) fn tail(&self, line: &str, word: &str) -> String {
        let told = self.machine.fedi(line);
        let (exit, rest) = told.split_once('\n').unwrap();
        let lines = rest.lines().skip_while(|line| !(line.starts_with("[CLOCK]") && line.contains(word)));
        std::iter::once(exit).chain(lines).collect::<Vec<_>>().join("\n")
    }

    /// Starts `fedi LINE` and waits until it waits for a guest.
    pub(crate) fn begin_and_wait(&self, line: &str) -> Begun {
        self.sim.clear_requests();
        let begun = self.begin(line, "run 1:");
        while !self.sim.requests().iter().any(|request| request.path.contains("/agent/")) {
            std::thread::sleep(Duration::from_millis(10));
        }
        begun
    }

    /// Starts `fedi LINE` and waits until its stderr has a line with `word`.
    pub(crate) fn begin(&self, line: &str, word: &str) -> Begun {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.machine.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.lines().last().is_some_and(|line| line.contains(word)) {
            assert!(stderr.read_line(&mut told).unwrap() > 0, "{line} ended before {word:?}: {told}");
        }
        Begun { child, stderr, told }
    }
}

/// A command that is at work.
pub(crate) struct Begun {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    told: String,
}

impl Begun {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for a line with `word`.
    pub(crate) fn until(&mut self, word: &str) {
        while !self.told.lines().last().is_some_and(|line| line.contains(word)) {
            assert!(self.stderr.read_line(&mut self.told).unwrap() > 0, "no {word:?}: {}", self.told);
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self, machine: &Machine) -> String {
        let mut output = self.child.wait_with_output().unwrap();
        std::io::Read::read_to_string(&mut self.stderr, &mut self.told).unwrap();
        output.stderr = self.told.into_bytes();
        machine.tell(&output)
    }
}
