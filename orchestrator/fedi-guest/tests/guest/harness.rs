//! A real guest for the tests: Debian with systemd and sshd in systemd-nspawn, over
//! the cached root that the sandbox uses, in a network namespace without a route out.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fedi_guest::protocol::{Call, ClientLine, ErrorReply, Event, GuestLine, Hello, Request};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use uuid::Uuid;

pub(crate) const ADDRESS: &str = "10.77.0.2";

/// How long anything in a guest may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running guest; gone when dropped.
pub(crate) struct TestGuest {
    folder: tempfile::TempDir,
    cgroups: Vec<PathBuf>,
    machine: Child,
    pub(crate) uuid: Uuid,
}

/// Boots a guest, or says on stderr why this machine cannot.
pub(crate) fn boot() -> Option<TestGuest> {
    boot_with(&[])
}

/// As [`boot`], with files (path, mode, content) put into the guest beforehand.
pub(crate) fn boot_with(files: &[(&str, u32, &[u8])]) -> Option<TestGuest> {
    match missing() {
        Some(why) => {
            skip(&why);
            None
        }
        None => Some(TestGuest::boot(files).expect("boot a guest")),
    }
}

/// Says visibly that a test did not run.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        let line = format!("fedi-guest {}: {why}\n", std::thread::current().name().unwrap_or("test"));
        let appended = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .and_then(|mut log| log.write_all(line.as_bytes()));
        appended.expect("write the skip log");
    }
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a guest needs root".to_owned());
    }
    for program in ["systemd-nspawn", "ssh", "ssh-keygen", "ip", "mkfs.ext4", "setpriv"] {
        if !available(program) {
            return Some(format!("`{program}` is not installed"));
        }
    }
    if root().is_none() {
        return Some("there is no guest root; `tests/sandbox/guest-root/build` makes it".to_owned());
    }
    cgroup_roots().is_empty().then(|| "cgroups are not mounted".to_owned())
}

/// Whether a program can be run.
pub(crate) fn available(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|folder| folder.join(program).is_file())
}

fn root() -> Option<PathBuf> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sandbox/guest-root/build");
    let output = Command::new(build).arg("--path").output().ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    root.is_dir().then_some(root)
}

/// systemd-nspawn keeps cgroup v2 and systemd's own hierarchy in step.
fn cgroup_roots() -> Vec<PathBuf> {
    let all = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
    all.iter().map(PathBuf::from).filter(|root| root.join("cgroup.procs").exists()).collect()
}

impl TestGuest {
    fn boot(files: &[(&str, u32, &[u8])]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fedi-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix(&name).tempdir()?;
        let uuid = Uuid::new_v4();
        let key = folder.path().join("key");
        succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;

        let seed = folder.path().join("seed");
        let put = |path: &str, mode: u32, content: &[u8]| -> Result<()> {
            let path = seed.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().context("a path in the guest")?)?;
            fs::write(&path, content)?;
            Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
        };
        put("/etc/hostname", 0o644, b"testguest\n")?;
        put("/etc/fedi/guest-uuid", 0o644, uuid.to_string().as_bytes())?;
        let network = format!("[Match]\nName=host0\n[Network]\nLinkLocalAddressing=no\nAddress={ADDRESS}/24\n");
        put("/etc/systemd/network/10-test.network", 0o644, network.as_bytes())?;
        put("/root/.ssh/authorized_keys", 0o600, &fs::read(key.with_extension("pub"))?)?;
        // The tests of another crate, which has no such program, borrow this file.
        let built = option_env!("CARGO_BIN_EXE_fedi-guest").map(Into::into);
        if let Some(agent) = std::env::var_os("FEDI_GUEST_BIN").or(built) {
            put("/usr/bin/fedi-guest", 0o755, &fs::read(agent)?)?;
        }
        for (path, mode, content) in files {
            put(path, *mode, content)?;
        }

        let script = folder.path().join("boot.sh");
        fs::write(&script, include_str!("boot.sh"))?;
        let cgroups: Vec<PathBuf> = cgroup_roots().iter().map(|root| root.join(&name)).collect();
        for cgroup in &cgroups {
            fs::create_dir_all(cgroup)?;
        }
        let joined: Vec<_> = cgroups.iter().map(|cgroup| cgroup.display().to_string()).collect();
        let console = fs::File::create(folder.path().join("console.log"))?;
        let machine = Command::new("sh")
            .arg(&script)
            .arg(joined.join(":"))
            .arg(folder.path())
            .arg(root().context("the guest root")?)
            .args([&name, "600"])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()?;
        let guest = Self { folder, cgroups, machine, uuid };
        guest.wait_until_up()?;
        Ok(guest)
    }

    fn wait_until_up(&self) -> Result<()> {
        wait_for("the guest's namespaces", || Ok(self.folder.path().join("ready").exists()))
            .with_context(|| self.console())?;
        self.enter_network()?;
        wait_for("the guest's sshd", || {
            self.pin_host_key()?;
            Ok(self.ssh("systemctl is-system-running --wait >/dev/null; true").output()?.status.success())
        })
        .with_context(|| self.console())
    }

    fn console(&self) -> String {
        fs::read_to_string(self.folder.path().join("console.log")).unwrap_or_default()
    }

    /// Moves this thread, and with it the programs it starts, into the guest's network.
    fn enter_network(&self) -> Result<()> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.machine.id()))?;
        Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network))?)
    }

    /// Reads the guest's host key from its disk and writes it down as the only one accepted.
    fn pin_host_key(&self) -> Result<()> {
        let disk = format!("/proc/{}/root{}", self.machine.id(), self.folder.path().join("root").display());
        let Ok(key) = fs::read_to_string(Path::new(&disk).join("etc/ssh/ssh_host_ed25519_key.pub")) else {
            return Ok(());
        };
        Ok(fs::write(self.known_hosts(), format!("{ADDRESS} {key}"))?)
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// A scratch folder on the test's side.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    /// A command line on the guest, over SSH.
    pub(crate) fn ssh(&self, line: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "StrictHostKeyChecking=yes"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.known_hosts().display()));
        ssh.arg("-i").arg(self.key()).arg(format!("root@{ADDRESS}")).arg(line).stdin(Stdio::null());
        ssh
    }

    /// Runs a command line on the guest; it has to succeed. Returns what it printed.
    pub(crate) fn run(&self, line: &str) -> Result<String> {
        succeed(&mut self.ssh(line))
    }

    /// Runs a command line on the guest, however it ends.
    pub(crate) fn try_run(&self, line: &str) -> Result<Output> {
        Ok(self.ssh(line).output()?)
    }

    /// Copies a folder to the guest.
    pub(crate) fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let mut tar = Command::new("tar").arg("-C").arg(from).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
        let mut ssh = self.ssh(&format!("mkdir -p {to} && tar -C {to} -x"));
        let done = ssh.stdin(tar.stdout.take().context("tar's output")?).status()?;
        ensure!(tar.wait()?.success() && done.success(), "copying to the guest failed");
        Ok(())
    }

    /// Opens a session with the agent.
    pub(crate) fn session(&self) -> Result<Session> {
        Session::open(self.ssh("fedi-guest serve"))
    }

    /// Restarts the guest and waits until it is up again.
    pub(crate) fn restart(&self) -> Result<()> {
        let before = self.run("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic")?;
        // The connection is cut by the restart itself.
        self.try_run("systemctl reboot")?;
        wait_for("the guest to restart", || {
            let now =
                self.try_run("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic")?;
            Ok(now.status.success() && now.stdout != before.as_bytes())
        })?;
        self.wait_until_up()
    }
}

impl Drop for TestGuest {
    fn drop(&mut self) {
        // Best effort: the next lines make sure.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        let gone = wait_for("the guest's processes to end", || {
            for cgroup in &self.cgroups {
                if cgroup.join("cgroup.kill").exists() {
                    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
                }
            }
            self.cgroups.iter().for_each(|cgroup| remove_cgroup(cgroup));
            Ok(self.cgroups.iter().all(|cgroup| !cgroup.exists()))
        });
        if let Err(error) = gone {
            eprintln!("{error:#}");
        }
    }
}

fn remove_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    // Not empty yet: the caller looks again.
    let _ = fs::remove_dir(cgroup);
}

/// Asks again and again until the answer is yes.
pub(crate) fn wait_for(what: &str, mut answer: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !answer()? {
        if Instant::now() > end {
            bail!("waited too long for {what}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {stderr}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A conversation with the agent.
pub(crate) struct Session {
    ssh: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
    /// What happened during the last call.
    pub(crate) events: Vec<Event>,
}

impl Session {
    fn open(mut ssh: Command) -> Result<Self> {
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = ssh.stdin.take().context("ssh's input")?;
        let output = BufReader::new(ssh.stdout.take().context("ssh's output")?);
        let mut session = Self { ssh, input, output, next: 1, events: Vec::new() };
        session.send(&ClientLine::Hello { hello: Hello::ours() })?;
        let GuestLine::Hello(hello) = session.receive()? else { bail!("no hello") };
        hello.check()?;
        Ok(session)
    }

    fn send(&mut self, line: &ClientLine) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        Ok(self.input.write_all(&text)?)
    }

    fn receive(&mut self) -> Result<GuestLine> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "the session ended");
        Ok(GuestLine::parse(line.trim_end().as_bytes())?)
    }

    /// Asks without waiting for the answer.
    pub(crate) fn ask<C: Call>(&mut self, request: C) -> Result<u64> {
        let id = self.next;
        self.next += 1;
        self.send(&ClientLine::Request(Request { id, op: request.into() }))?;
        Ok(id)
    }

    /// The next event of what was asked.
    pub(crate) fn event(&mut self) -> Result<Event> {
        match self.receive()? {
            GuestLine::Event { event, .. } => Ok(event),
            other => bail!("no event: {other:?}"),
        }
    }

    /// One request and its answer.
    pub(crate) fn call<C: Call>(&mut self, request: C) -> Result<Result<C::Reply, ErrorReply>> {
        let id = self.ask(request)?;
        self.events.clear();
        loop {
            match self.receive()? {
                GuestLine::Event { id: of, event } if of == id => self.events.push(event),
                GuestLine::Response { id: Some(of), result } if of == id => {
                    return match result {
                        Ok(value) => Ok(Ok(serde_json::from_value(value)?)),
                        Err(error) => Ok(Err(error)),
                    };
                }
                other => bail!("an unexpected line: {other:?}"),
            }
        }
    }

    /// One request that has to succeed.
    pub(crate) fn ok<C: Call>(&mut self, request: C) -> Result<C::Reply> {
        Ok(self.call(request)??)
    }

    /// Cuts the connection off, as a failing network would.
    pub(crate) fn cut(mut self) -> Result<()> {
        self.ssh.kill()?;
        self.ssh.wait()?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The agent ends with its input; if not, the guest's own end is near.
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}
