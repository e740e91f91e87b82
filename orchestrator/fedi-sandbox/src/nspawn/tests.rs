//! The backend against real containers: boot, agent, reboot, power cut, and nothing left behind.

use std::io::Write as _;

use super::*;
use crate::command::output;

const GIB: u64 = 1 << 30;

/// Prints and counts a skip.
fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "fedi-sandbox nspawn: {why}").unwrap();
    }
}

/// The cached root, or why guests cannot run here.
fn guest_root() -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("guests need root".to_owned());
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sandbox/guest-root/build");
    let path = Command::new(build).arg("--path").output().map_err(|error| error.to_string())?;
    let path = PathBuf::from(String::from_utf8_lossy(&path.stdout).trim());
    if !path.is_dir() {
        return Err("no guest root; `make setup` builds it".to_owned());
    }
    output("find systemd-nspawn", "systemd-nspawn", ["--version"]).map(|_| path).map_err(|error| error.to_string())
}

/// A namespace and a backend in it; all of it goes when this is dropped.
struct Lab {
    name: String,
    folder: tempfile::TempDir,
    backend: NspawnBackend,
    image: PathBuf,
}

impl Lab {
    fn new(what: &str) -> Option<Self> {
        let root = match guest_root() {
            Ok(root) => root,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let name = format!("fedi-lab-{what}-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        Namespace::new(&name).ensure().unwrap();
        let image = folder.path().join("guest.qcow2");
        write_image(&image, &root, 4 * GIB).unwrap();
        let backend = Self::backend(&name, folder.path());
        Some(Self { name, folder, backend, image })
    }

    /// A second backend over the same guests, as a restarted simulator would make it.
    fn backend(name: &str, folder: &Path) -> NspawnBackend {
        NspawnBackend::new(NspawnSettings {
            guests: folder.join("guests"),
            cgroup: name.to_owned(),
            namespace: name.to_owned(),
            trusted_ca: None,
            default_nameserver: "10.78.0.53".parse().ok(),
            agent: None,
        })
        .unwrap()
    }

    fn spec(&self) -> GuestSpec {
        GuestSpec {
            uuid: Uuid::new_v4(),
            vmid: 9000,
            node: "proxmox1".to_owned(),
            name: "matrix".to_owned(),
            image_path: Some(self.image.clone()),
            image_sha256: None,
            root_disk_bytes: 4 * GIB,
            state_disk_gib: Some(1),
            memory_mib: 2048,
            cores: 2,
            nics: vec![fedi_sim::backend::NicSpec {
                index: 0,
                mac: "BC:24:11:01:02:03".to_owned(),
                bridge: "vmbr0".to_owned(),
                addresses: vec!["10.78.1.20/24".parse().unwrap(), "fd78:1::20/64".parse().unwrap()],
                gateways: vec!["10.78.1.1".parse().unwrap(), "fd78:1::1".parse().unwrap()],
            }],
            nameservers: Vec::new(),
            search_domain: None,
            user: None,
            ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE test".to_owned()],
            first_boot: true,
        }
    }

    async fn up(&self, uuid: Uuid) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.backend.agent_ping(uuid).await {
            assert!(Instant::now() < deadline, "{error}: {:?}", self.backend.inner.boot_error(uuid));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn shell(&self, uuid: Uuid, line: &str) -> String {
        let argv = ["sh", "-euc", line].map(str::to_owned);
        let out = self.backend.exec(uuid, &argv, &[]).await.unwrap();
        assert_eq!(out.status, 0, "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// What is still on the machine and has our name on it.
    fn leftovers(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let mut found = self.backend.inner.cgroup.names();
        for file in ["/proc/mounts", "/proc/self/mountinfo"] {
            let text = fs::read_to_string(file).unwrap();
            found.extend(text.lines().filter(|line| line.contains(&folder)).map(str::to_owned));
        }
        let links = output("list", "ip", ["-n", &self.name, "-oneline", "link"]).unwrap();
        found.extend(links.lines().filter(|line| line.contains("vb-")).map(str::to_owned));
        let loops = output("list", "losetup", ["--list", "--noheadings", "--output", "BACK-FILE"]).unwrap();
        found.extend(loops.lines().filter(|line| line.contains(&folder)).map(str::to_owned));
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let cleaned = self.backend.inner.cgroup.kill().and_then(|()| Namespace::new(&self.name).remove());
        if let Err(error) = cleaned {
            eprintln!("{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_and_dies() {
    let Some(lab) = Lab::new("life") else { return };
    let spec = lab.spec();
    let uuid = spec.uuid;
    lab.backend.create(&spec).await.unwrap();
    assert!(!lab.backend.is_running(uuid).await);
    assert!(matches!(lab.backend.agent_ping(uuid).await, Err(BackendError::NotRunning(_))));

    lab.backend.start(&spec).await.unwrap();
    lab.up(uuid).await;
    lab.backend.start(&spec).await.unwrap();

    // What cloud-init would have set up, and the uuid that is the guest's identity.
    assert_eq!(lab.shell(uuid, "hostname").await, "matrix");
    assert_eq!(lab.shell(uuid, "cat /etc/machine-id").await, uuid.simple().to_string());
    assert_eq!(lab.shell(uuid, "stat -c %a /root/.ssh /root/.ssh/authorized_keys").await, "700\n600");
    assert!(lab.shell(uuid, "cat /etc/resolv.conf").await.contains("10.78.0.53"));
    let nics = lab.backend.interfaces(uuid).await.unwrap();
    let nic = nics.iter().find(|nic| nic.mac == "bc:24:11:01:02:03").unwrap();
    assert!(nic.addresses.contains(&"10.78.1.20/24".parse().unwrap()));
    assert!(nic.addresses.contains(&"fd78:1::20/64".parse().unwrap()));

    // The agent's calls.
    let key = lab.backend.read_file(uuid, "/etc/ssh/ssh_host_ed25519_key.pub", 4096).await.unwrap();
    assert!(key.starts_with(b"ssh-ed25519 "));
    let missing = lab.backend.read_file(uuid, "/no/such", 10).await.unwrap_err();
    assert_eq!(missing.to_string(), "failed to open file '/no/such' (mode: 'r'): No such file or directory");
    lab.backend.write_file(uuid, "/var/lib/kept", b"state").await.unwrap();
    let out = lab.backend.exec(uuid, &["cat".to_owned()], b"through").await.unwrap();
    assert_eq!((out.status, out.stdout.as_slice()), (0, b"through".as_slice()));

    // The second disk is as large as it was asked to be.
    let full = lab.shell(uuid, "head -c 2G /dev/zero 2>&1 >/var/lib/zeroes || rm /var/lib/zeroes").await;
    assert!(full.contains("No space left on device"), "{full}");

    // Off and on again: the disks and the host key stay.
    assert!(lab.backend.shutdown(uuid, Duration::from_secs(30)).await.unwrap());
    assert_eq!(lab.leftovers(), Vec::<String>::new());
    lab.backend.start(&GuestSpec { first_boot: false, ..spec.clone() }).await.unwrap();
    lab.up(uuid).await;
    assert_eq!(lab.backend.read_file(uuid, "/etc/ssh/ssh_host_ed25519_key.pub", 4096).await.unwrap(), key);
    assert_eq!(lab.backend.read_file(uuid, "/var/lib/kept", 99).await.unwrap(), b"state");

    lab.backend.destroy(uuid).await.unwrap();
    lab.backend.destroy(uuid).await.unwrap();
    assert_eq!(lab.leftovers(), Vec::<String>::new());
    assert!(!lab.folder.path().join("guests").join(uuid.to_string()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reboots_and_survives_its_simulator() {
    let Some(lab) = Lab::new("boot") else { return };
    let spec = lab.spec();
    let uuid = spec.uuid;
    lab.backend.start(&spec).await.unwrap();
    lab.up(uuid).await;

    let boot = lab.shell(uuid, "cat /proc/1/stat | cut -d' ' -f22").await;
    lab.shell(uuid, "systemctl reboot").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(Instant::now() < deadline, "{:?}", lab.backend.inner.boot_error(uuid));
        if lab.backend.agent_ping(uuid).await.is_ok()
            && lab.shell(uuid, "cat /proc/1/stat | cut -d' ' -f22").await != boot
        {
            break;
        }
    }

    // Another backend over the same folder finds the guest running, and cuts its power.
    let second = Lab::backend(&lab.name, lab.folder.path());
    assert!(second.is_running(uuid).await);
    second.agent_ping(uuid).await.unwrap();
    second.stop(uuid).await.unwrap();
    assert!(!lab.backend.is_running(uuid).await);
    assert_eq!(lab.leftovers(), Vec::<String>::new());
    second.destroy(uuid).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_disk_runs_and_answers_nothing() {
    let Some(lab) = Lab::new("bare") else { return };
    let spec = GuestSpec { image_path: None, ..lab.spec() };
    lab.backend.start(&spec).await.unwrap();
    assert!(lab.backend.is_running(spec.uuid).await);
    assert!(matches!(lab.backend.agent_ping(spec.uuid).await, Err(BackendError::NoAgent)));
    lab.backend.destroy(spec.uuid).await.unwrap();
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
