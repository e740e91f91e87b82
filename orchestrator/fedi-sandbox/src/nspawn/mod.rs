//! Guests that are real machines as far as fedi can tell: systemd-nspawn containers over a cached Debian root.
//!
//! A guest is a folder (`guests/<uuid>/`): `guest.json` with its specification, `root.img` with the upper layer of
//! its overlay, `state.img` with its second disk, `console.log`. Both disks are sparse ext4 files of the size that
//! the VM's configuration gives, so that a full disk is a full disk. Nothing about a running guest is kept in
//! memory: whether it runs is whether its cgroup has a process, so a simulator that was killed finds its guests
//! again. The overlay and the loop devices are mounted in the guest's own mount namespace and end with it.
//!
//! Two stand-ins, plainly: the files that cloud-init would make from the VM's configuration are written into the
//! overlay at first boot, and the guest agent is `nsenter`.

mod agent;
mod disk;
mod firstboot;
mod image;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fedi_sim::backend::{BackendError, ExecOutput, GuestBackend, GuestSpec, Interface};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cgroup::Cgroup;
use crate::command::{PATH, append, tail};
use crate::namespace::Namespace;
use crate::{Result, SandboxError};

pub(crate) use image::write_image;

const GUEST: &str = include_str!("../scripts/guest.sh");
const BOOT: &str = include_str!("../scripts/boot.sh");

/// What a backend needs to know about its surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NspawnSettings {
    /// Folder that holds one folder a guest.
    pub guests: PathBuf,
    /// Cgroup of the sandbox, from the top of the hierarchy.
    pub cgroup: String,
    /// Name of the network namespace.
    pub namespace: String,
    /// Certificate authority (PEM) that the guests' image trusts, beside Debian's.
    pub trusted_ca: Option<PathBuf>,
    /// Asked by guests whose configuration names no server.
    pub default_nameserver: Option<IpAddr>,
    /// The static binary that the image holds as `/usr/bin/fedi-guest`.
    pub agent: Option<PathBuf>,
}

/// Boots systemd-nspawn containers as the guests of a simulated host.
#[derive(Debug, Clone)]
pub struct NspawnBackend {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: NspawnSettings,
    cgroup: Cgroup,
    namespace: Namespace,
}

/// `guest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    spec: GuestSpec,
    /// The folder that the disk image stands for; `None` = an empty disk, which nothing boots from.
    root: Option<PathBuf>,
}

impl NspawnBackend {
    /// A backend over the guests that are already in the folder.
    pub fn new(settings: NspawnSettings) -> Result<Self> {
        let cgroup = Cgroup::top(&settings.cgroup)?;
        let namespace = Namespace::new(&settings.namespace);
        Ok(Self { inner: Arc::new(Inner { settings, cgroup, namespace }) })
    }

    /// Runs a blocking step off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T, BackendError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || act(&inner))
            .await
            .map_err(|error| BackendError::Failed(error.to_string()))?
            .map_err(|error| BackendError::Failed(explain(&error)))
    }
}

/// An error with its causes on one line, as a task's exit text is.
fn explain(error: &SandboxError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Inner {
    fn folder(&self, uuid: Uuid) -> PathBuf {
        self.settings.guests.join(uuid.to_string())
    }

    fn cgroup(&self, uuid: Uuid) -> Cgroup {
        self.cgroup.child(&format!("guest-{uuid}"))
    }

    fn create(&self, spec: &GuestSpec) -> Result<()> {
        let folder = self.folder(spec.uuid);
        fs::create_dir_all(&folder).map_err(SandboxError::io("create the guest's folder"))?;
        if self.record(spec.uuid).is_none() {
            let root = spec.image_path.as_deref().map(image::read_root).transpose()?;
            self.write_record(&Record { spec: spec.clone(), root })?;
        }
        disk::ensure(&folder.join("root.img"), spec.root_disk_bytes)?;
        if let Some(gib) = spec.state_disk_gib {
            disk::ensure(&folder.join("state.img"), gib << 30)?;
        }
        Ok(())
    }

    fn start(&self, spec: &GuestSpec) -> Result<()> {
        if self.cgroup(spec.uuid).populated() {
            return Ok(());
        }
        // What a guest that powered itself off has left: empty cgroups.
        self.stop(spec.uuid)?;
        self.create(spec)?;
        let mut record = self.record(spec.uuid).ok_or_else(|| SandboxError::Leftover("a damaged guest".into()))?;
        record.spec = spec.clone();
        self.write_record(&record)?;
        let folder = self.folder(spec.uuid);
        if let Some(root) = &record.root
            && spec.first_boot
        {
            firstboot::write(&folder.join("seed"), root, spec, &self.settings)?;
        }
        self.boot(&record)
    }

    fn boot(&self, record: &Record) -> Result<()> {
        let spec = &record.spec;
        let cgroup = self.cgroup(spec.uuid);
        cgroup.create()?;
        let folder = self.folder(spec.uuid);
        let log = append(&folder.join("console.log"))?;
        let errors = log.try_clone().map_err(SandboxError::io("open the console log"))?;
        let status = Command::new("sh")
            .args(["-c", GUEST, "sandbox-guest", BOOT])
            .arg(cgroup.joined())
            .arg(self.namespace.file())
            .arg(&folder)
            .arg(record.root.as_deref().unwrap_or("-".as_ref()))
            .arg(machine(spec.uuid))
            .arg(spec.uuid.to_string())
            .arg(&spec.name)
            .arg(if spec.nics.is_empty() { "--private-network" } else { "--network-bridge=br0" })
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .status()
            .map_err(SandboxError::io("start the guest"))?;
        if !status.success() {
            return Err(self.boot_error(spec.uuid));
        }
        if record.root.is_none() {
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while agent::leader(&cgroup).is_none() {
            if !cgroup.populated() || Instant::now() > deadline {
                return Err(self.boot_error(spec.uuid));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn boot_error(&self, uuid: Uuid) -> SandboxError {
        let log = self.folder(uuid).join("console.log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        SandboxError::NotReady { part: format!("guest {uuid}"), why: tail(&text, 3), log }
    }

    /// Asks the guest to power off: systemd-nspawn passes SIGTERM on as an orderly halt.
    fn shutdown(&self, uuid: Uuid, timeout: Duration) -> Result<bool> {
        let cgroup = self.cgroup(uuid);
        let deadline = Instant::now() + timeout;
        if let Some(leader) = agent::leader(&cgroup) {
            agent::terminate_parent(leader);
        }
        while cgroup.populated() {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stop(uuid)?;
        Ok(true)
    }

    fn stop(&self, uuid: Uuid) -> Result<()> {
        self.cgroup(uuid).kill()?;
        self.namespace.remove_link(&format!("vb-{}", machine(uuid)))
    }

    fn destroy(&self, uuid: Uuid) -> Result<()> {
        self.stop(uuid)?;
        let folder = self.folder(uuid);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(SandboxError::io(format!("remove `{}`", folder.display())))?;
        }
        Ok(())
    }

    fn record(&self, uuid: Uuid) -> Option<Record> {
        let text = fs::read(self.folder(uuid).join("guest.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the record under another name and renames it, so that a kill leaves the old or the new.
    fn write_record(&self, record: &Record) -> Result<()> {
        let folder = self.folder(record.spec.uuid);
        let text =
            serde_json::to_vec_pretty(record).map_err(|e| SandboxError::io("write the guest's record")(e.into()))?;
        let new = folder.join("guest.json.new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, folder.join("guest.json")))
            .map_err(SandboxError::io("write the guest's record"))
    }
}

/// The specifications of all guests in a folder.
pub(crate) fn records(guests: &Path) -> Vec<GuestSpec> {
    let Ok(entries) = fs::read_dir(guests) else { return Vec::new() };
    let files = entries.flatten().filter_map(|entry| fs::read(entry.path().join("guest.json")).ok());
    let mut specs: Vec<GuestSpec> =
        files.filter_map(|text| serde_json::from_slice::<Record>(&text).ok()).map(|record| record.spec).collect();
    specs.sort_by_key(|spec| spec.vmid);
    specs
}

/// The container's name: short enough that systemd-nspawn names the interface `vb-<machine>` and no other way
/// (an interface has at most 15 characters).
fn machine(uuid: Uuid) -> String {
    format!("g{}", &uuid.simple().to_string()[..11])
}

#[async_trait]
impl GuestBackend for NspawnBackend {
    async fn create(&self, spec: &GuestSpec) -> Result<(), BackendError> {
        let spec = spec.clone();
        self.blocking(move |inner| inner.create(&spec)).await
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), BackendError> {
        let spec = spec.clone();
        self.blocking(move |inner| inner.start(&spec)).await
    }

    async fn shutdown(&self, uuid: Uuid, timeout: Duration) -> Result<bool, BackendError> {
        self.blocking(move |inner| inner.shutdown(uuid, timeout)).await
    }

    async fn stop(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.blocking(move |inner| inner.stop(uuid)).await
    }

    async fn destroy(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.blocking(move |inner| inner.destroy(uuid)).await
    }

    async fn is_running(&self, uuid: Uuid) -> bool {
        self.blocking(move |inner| Ok(inner.cgroup(uuid).populated())).await.unwrap_or(false)
    }

    async fn agent_ping(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.inner.agent(uuid).map(drop)
    }

    async fn read_file(&self, uuid: Uuid, path: &str, max_bytes: usize) -> Result<Vec<u8>, BackendError> {
        self.inner.agent(uuid)?.read_file(path, max_bytes).await
    }

    async fn write_file(&self, uuid: Uuid, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.inner.agent(uuid)?.write_file(path, content).await
    }

    async fn exec(&self, uuid: Uuid, argv: &[String], stdin: &[u8]) -> Result<ExecOutput, BackendError> {
        self.inner.agent(uuid)?.exec(argv, stdin).await
    }

    async fn interfaces(&self, uuid: Uuid) -> Result<Vec<Interface>, BackendError> {
        self.inner.agent(uuid)?.interfaces().await
    }
}
