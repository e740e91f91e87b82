//! A namespace with guests for the tests of this crate; all of it goes when it is dropped.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fedi_sim::backend::{GuestBackend as _, GuestSpec, NicSpec};
use uuid::Uuid;

use crate::cgroup::Cgroup;
use crate::command::output;
use crate::namespace::Namespace;
use crate::nspawn::{NspawnBackend, NspawnSettings, write_image};

pub(crate) const GIB: u64 = 1 << 30;

/// Prints and counts a skip.
fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "fedi-sandbox: {why}").unwrap();
    }
}

/// The value, or a visible skip.
pub(crate) fn skipped<T>(value: Result<T, String>) -> Option<T> {
    value.inspect_err(|why| skip(why)).ok()
}

/// What a recipe of `tests/sandbox` has built, or why that cannot be used here.
pub(crate) fn recipe(build: &str) -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("guests need root".to_owned());
    }
    output("find systemd-nspawn", "systemd-nspawn", ["--version"]).map_err(|error| error.to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sandbox").join(build);
    let path = Command::new(script).arg("--path").output().map_err(|error| error.to_string())?;
    let path = PathBuf::from(String::from_utf8_lossy(&path.stdout).trim());
    if path.is_dir() { Ok(path) } else { Err(format!("{build} has not been run; `make setup` does it")) }
}

/// A namespace and a backend in it; all of it goes when this is dropped.
pub(crate) struct Lab {
    pub(crate) name: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) backend: NspawnBackend,
    pub(crate) cgroup: Cgroup,
    pub(crate) namespace: Namespace,
    image: PathBuf,
}

impl Lab {
    pub(crate) fn new(what: &str) -> Option<Self> {
        let root = skipped(recipe("guest-root/build"))?;
        let name = format!("fedi-lab-{what}-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let (cgroup, namespace) = (Cgroup::top(&name).unwrap(), Namespace::new(&name));
        namespace.ensure().unwrap();
        let image = folder.path().join("guest.qcow2");
        write_image(&image, &root, 4 * GIB).unwrap();
        let backend = NspawnBackend::new(Self::settings(&name, folder.path())).unwrap();
        Some(Self { name, folder, backend, cgroup, namespace, image })
    }

    pub(crate) fn settings(name: &str, folder: &Path) -> NspawnSettings {
        NspawnSettings {
            guests: folder.join("guests"),
            cgroup: name.to_owned(),
            namespace: name.to_owned(),
            trusted_ca: None,
            default_nameserver: "10.78.0.53".parse().ok(),
            agent: None,
        }
    }

    pub(crate) fn spec(&self) -> GuestSpec {
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
            nics: vec![NicSpec {
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

    pub(crate) async fn up(&self, uuid: Uuid) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.backend.agent_ping(uuid).await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn shell(&self, uuid: Uuid, line: &str) -> String {
        let argv = ["sh", "-euc", line].map(str::to_owned);
        let out = self.backend.exec(uuid, &argv, &[]).await.unwrap();
        assert_eq!(out.status, 0, "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// What is still on the machine and has our name on it.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let mut found = self.cgroup.names();
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
        let cleaned = self.cgroup.kill().and_then(|()| self.namespace.remove());
        if let Err(error) = cleaned {
            eprintln!("{error}");
        }
    }
}
