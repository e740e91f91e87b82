//! A whole sandbox as its users have it: up, used, crashed, up again, down, and nothing left.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fedi_sandbox::nspawn::{NspawnBackend, NspawnSettings};
use fedi_sim::backend::{GuestBackend as _, GuestSpec, NicSpec};
use uuid::Uuid;

/// A sandbox under a name of its own; it is taken down when this goes.
struct Case {
    name: String,
}

impl Case {
    fn new(what: &str) -> Option<Self> {
        if let Some(why) = reason_to_skip() {
            eprintln!("skipped: {why}");
            if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
                let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
                std::io::Write::write_all(&mut log, format!("fedi-sandbox {what}: {why}\n").as_bytes()).unwrap();
            }
            return None;
        }
        Some(Self { name: format!("fedi-test-{what}-{}", std::process::id()) })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedi-sandbox"));
        command.args(["--name", &self.name]).args(args).stdin(Stdio::null());
        command
    }

    fn act(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn succeed(&self, args: &[&str]) -> String {
        let out = self.act(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.act(&["status"]).stdout).unwrap()
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(self.status()["folder"].as_str().unwrap())
    }

    /// Process ids in the sandbox's cgroup whose command line has this word.
    fn processes(&self, word: &str) -> Vec<String> {
        let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let in_sandbox = |pid: &String| {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            cgroup
                .lines()
                .any(|line| line.ends_with(&format!("/{}", self.name)) || line.contains(&format!("/{}/", self.name)))
        };
        // A dead process that init has not collected yet is none.
        let alive = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z') && !rest.is_empty())
        };
        let has_word =
            |pid: &String| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(word));
        all.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(in_sandbox)
            .filter(alive)
            .filter(has_word)
            .collect()
    }

    fn kill(&self, word: &str) {
        let pids = self.processes(word);
        assert!(!pids.is_empty(), "nothing called {word} runs");
        assert!(Command::new("kill").arg("-KILL").args(&pids).status().unwrap().success());
    }

    /// Everything on the machine that carries the sandbox's name.
    fn leftovers(&self) -> Vec<String> {
        let mut found: Vec<String> = self.processes("").into_iter().map(|pid| format!("process {pid}")).collect();
        let places = ["/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
        let paths = places.iter().map(|place| Path::new(place).join(&self.name));
        found.extend(paths.filter(|path| path.exists()).map(|path| path.display().to_string()));
        let loops = Command::new("losetup").args(["--list", "--noheadings", "--output", "BACK-FILE"]).output().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap() + &String::from_utf8_lossy(&loops.stdout);
        found.extend(mounts.lines().filter(|line| line.contains(&self.name)).map(str::to_owned));
        found
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let folder = self.folder();
        self.act(&["down"]);
        // Its logs are for the sandboxes that people bring up.
        let _ = fs::remove_dir_all(&folder);
        let _ = fs::remove_file(folder.with_extension("lock"));
    }
}

fn reason_to_skip() -> Option<String> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sandbox/guest-root/build");
    let path = Command::new(build).arg("--path").output().ok()?.stdout;
    let root = PathBuf::from(String::from_utf8_lossy(&path).trim());
    if !root.is_dir() {
        return Some("no guest root; `make setup` builds it".to_owned());
    }
    let agent = root.parent().unwrap_or(&root).join("bin/fedi-guest");
    if !agent.is_file() {
        return Some("no agent for guests; `make setup` builds it".to_owned());
    }
    ["systemd-nspawn", "pdns_server", "caddy", "ip"].into_iter().find_map(|program| {
        let found =
            ["/usr/bin", "/usr/sbin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists());
        (!found).then(|| format!("`{program}` is not installed"))
    })
}

/// Boots a guest as the first host would, without going through its API.
async fn guest(case: &Case, folder: &Path) -> (NspawnBackend, Uuid) {
    let backend = NspawnBackend::new(NspawnSettings {
        guests: folder.join("hosts/proxmox1/guests"),
        cgroup: case.name.clone(),
        namespace: case.name.clone(),
        trusted_ca: Some(folder.join("ca.pem")),
        default_nameserver: "10.78.0.53".parse().ok(),
        agent: None,
    })
    .unwrap();
    let spec = GuestSpec {
        uuid: Uuid::new_v4(),
        vmid: 9000,
        node: "proxmox1".to_owned(),
        name: "matrix".to_owned(),
        image_path: Some(folder.join("images/guest.qcow2")),
        image_sha256: None,
        root_disk_bytes: 4 << 30,
        state_disk_gib: Some(1),
        memory_mib: 512,
        cores: 1,
        nics: vec![NicSpec {
            index: 0,
            mac: "BC:24:11:0A:0B:0C".to_owned(),
            bridge: "vmbr0".to_owned(),
            addresses: vec!["10.78.1.99/24".parse().unwrap()],
            gateways: vec!["10.78.1.1".parse().unwrap()],
        }],
        nameservers: Vec::new(),
        search_domain: None,
        user: None,
        ssh_keys: vec![fs::read_to_string(folder.join("config/ssh_ed25519.pub")).unwrap().trim().to_owned()],
        first_boot: true,
    };
    backend.start(&spec).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = backend.agent_ping(spec.uuid).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (backend, spec.uuid)
}

#[tokio::test(flavor = "multi_thread")]
async fn up_used_crashed_and_down() {
    let Some(case) = Case::new("whole") else { return };
    // What runs all this may keep its files to itself, as fedi does; the guest is not to notice.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    case.succeed(&["up"]);
    assert_eq!(case.status()["up"], true);
    let folder = case.folder();
    let (backend, uuid) = guest(&case, &folder).await;

    // A command inside has the sandbox's names, files and certificates, and no way out.
    let inside = case.succeed(&[
        "run",
        "sh",
        "-euc",
        "getent hosts acme.sandbox.test && curl -fsS https://acme.sandbox.test/acme/local/directory",
    ]);
    assert!(inside.contains("10.78.0.2") && inside.contains("newOrder"), "{inside}");
    let routes = case.succeed(&["run", "ip", "route"]);
    assert!(routes.lines().all(|line| line.starts_with("10.78.") && line.contains("dev br0")), "{routes}");
    assert_eq!(case.act(&["run", "sh", "-c", "exit 7"]).status.code(), Some(7));
    // fedi's key opens the guest.
    let ssh = "ssh -i $FEDI_CONFIG_DIR/ssh_ed25519 -o BatchMode=yes -o StrictHostKeyChecking=no \
               -o UserKnownHostsFile=/dev/null root@10.78.1.99 hostname";
    assert_eq!(case.succeed(&["run", "sh", "-euc", ssh]).trim(), "matrix");
    // Tokens for two different installations.
    for (host, address) in [("proxmox1", "10.78.0.11"), ("new-provider", "10.78.0.12")] {
        let ask = format!(
            "c=$FEDI_CONFIG_DIR/credentials/{host}; printf 'header = \"Authorization: PVEAPIToken=%s\"' \"$(cat $c/proxmox-token)\" |
             curl -fsS --config - --cacert $c/ca.pem https://{address}:8006/api2/json/version"
        );
        assert!(case.succeed(&["run", "sh", "-euc", &ask]).contains("release"));
    }

    // Every server dies; the guest does not, and `up` brings back what is missing.
    let before = fs::read(folder.join("ca.pem")).unwrap();
    for word in ["pdns_server", "caddy", "proxmox1/host.json", "new-provider/host.json"] {
        case.kill(word);
    }
    assert_eq!(case.status()["up"], false);
    assert!(backend.is_running(uuid).await);
    case.succeed(&["up"]);
    assert_eq!(case.status()["up"], true);
    assert_eq!(case.status()["guests"][0]["running"], true);
    assert_eq!(fs::read(folder.join("ca.pem")).unwrap(), before);

    // Down in the middle of everything, and once more.
    case.kill("proxmox1/host.json");
    case.succeed(&["down"]);
    assert_eq!(case.leftovers(), Vec::<String>::new());
    assert_eq!(case.status()["absent"], true);
    let kept: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(kept, ["logs"]);
    case.succeed(&["down"]);
}

#[test]
fn up_can_be_killed_anywhere() {
    let Some(case) = Case::new("killed") else { return };
    for milliseconds in [20, 80, 200, 350, 500, 700, 900] {
        let mut up = case.command(&["up"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        up.kill().unwrap();
        up.wait().unwrap();
        if milliseconds == 350 {
            case.succeed(&["down"]);
            assert_eq!(case.leftovers(), Vec::<String>::new());
        }
    }
    case.succeed(&["up"]);
    assert_eq!(case.status()["up"], true);
    case.succeed(&["down"]);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}
