//! A site with its simulator.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedi_engine::{Engine, EngineOptions, Outcome};
use fedi_model::name::DeploymentName;
use fedi_model::plan::Plan;
use fedi_sim::{Clock, NodeConfig, SimBuilder, SimHandle, StorageSetup, Tuning, Version};
use fedi_test::{Recorder, TestClock};
use fedi_workflow::WorkflowError;
use tempfile::TempDir;

use crate::folder::Layout;
use crate::guest::StandInMachines;
use crate::wiring::{Wires, Wiring};

/// What the token may do in its pool.
const IN_POOL: &[&str] = &[
    "VM.Allocate",
    "VM.Audit",
    "VM.PowerMgmt",
    "VM.Config.Disk",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.HWType",
    "VM.Config.Options",
    "VM.Config.Cloudinit",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
];

/// What a site is to be like.
#[derive(Clone)]
pub struct Setup {
    /// Hosts; each is a node of one simulated cluster.
    pub hosts: Vec<String>,
    /// Host, name and domain of each deployment.
    pub deployments: Vec<(String, String, String)>,
    /// How long things take on the nodes.
    pub tuning: Tuning,
    /// How many times faster than real time the nodes' clock runs.
    pub speed: f64,
    /// From power-on until a guest answers.
    pub boot: Duration,
    /// The bridges that nodes have; guests are on `vmbr0`.
    pub bridges: Vec<String>,
    /// How many addresses a host has of each family, 240 at most.
    pub addresses: u8,
    /// How many numbers VMs of a host may have.
    pub vmids: u32,
    /// MiB of a host's storage for disks.
    pub storage_mib: u64,
    /// Where to keep everything; a temporary folder in memory without it.
    pub root: Option<std::path::PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            hosts: vec!["proxmox1".to_owned()],
            deployments: vec![("proxmox1".to_owned(), "matrix".to_owned(), "matrix.example.test".to_owned())],
            tuning: Tuning::default(),
            speed: 50.0,
            boot: Duration::ZERO,
            bridges: vec!["vmbr0".to_owned()],
            addresses: 20,
            vmids: 100,
            storage_mib: 4 << 20,
            root: None,
        }
    }
}

/// A site with its simulator; all of it is gone when this is.
pub struct TestSite {
    /// The simulator.
    pub sim: SimHandle,
    /// What it boots.
    pub machines: Arc<StandInMachines>,
    /// The site as this process has it.
    pub wiring: Wiring,
    /// The engine's clock.
    pub clock: TestClock,
    /// What the engine told.
    pub recorder: Recorder,
    root: std::path::PathBuf,
    _folder: Option<TempDir>,
}

impl TestSite {
    /// A site with one host and one deployment, `matrix`.
    pub async fn new() -> Self {
        Self::with(Setup::default(), Wires::default()).await
    }

    /// A site as `setup` says, put together with `wires`.
    pub async fn with(setup: Setup, wires: Wires) -> Self {
        let folder = setup.root.is_none().then(in_memory);
        let root = match (&setup.root, &folder) {
            (Some(root), _) => root.clone(),
            (None, Some(folder)) => folder.path().to_owned(),
            (None, None) => unreachable!("one of them is there"),
        };
        let layout = Layout::at(&root);
        layout.make();
        let machines = Arc::new(StandInMachines::new(&layout.world(), setup.boot));
        let sim = cluster(&setup).backend(machines.clone()).start().await.unwrap();
        layout.write_credential("proxmox-token", &sim.token("fedi@pve!deploy").unwrap());
        for (number, host) in setup.hosts.iter().enumerate() {
            layout.write_host(host, &host_toml(&setup, &layout, &sim, number + 1, host));
        }
        for (host, name, domain) in &setup.deployments {
            layout.write_deployment(host, name, domain, "");
        }
        let wiring = Wiring::with(&root, wires);
        Self {
            sim,
            machines,
            wiring,
            clock: TestClock::default(),
            recorder: Recorder::default(),
            root,
            _folder: folder,
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads the inventory again, as the next command does.
    pub fn reopen(&mut self) {
        self.reopen_with(Wires::default());
    }

    /// The same with other parts.
    pub fn reopen_with(&mut self, wires: Wires) {
        self.wiring = Wiring::with(&self.root, wires);
    }

    /// An engine whose waits between tries take no time.
    pub fn engine(&self) -> Engine {
        let (clock, recorder) = (Arc::new(self.clock.clone()), Arc::new(self.recorder.clone()));
        Engine::new(self.wiring.store.clone(), self.wiring.world(), clock, recorder).with_options(EngineOptions {
            concurrency: 1,
            backoff: Duration::from_secs(1),
            ..EngineOptions::default()
        })
    }

    /// Plans and carries out a deploy, as the command does.
    pub async fn deploy(&self, name: &str) -> Result<Outcome, WorkflowError> {
        let prepared = self.wiring.desk.deploy(&self.wiring.deployment(name)).await?;
        let outcome = self.engine().start(&prepared.plan).await.unwrap();
        if matches!(outcome, Outcome::Unwound { .. }) {
            self.wiring.desk.forget(&DeploymentName::new(name).unwrap()).await?;
        }
        Ok(outcome)
    }

    /// Captures the state of a deployment, as the command does.
    pub async fn backup(&self, name: &str) {
        let prepared = self.wiring.desk.backup(&DeploymentName::new(name).unwrap(), None).await.unwrap();
        let outcome = self.engine().start(&prepared.plan).await.unwrap();
        assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    }

    /// The plan of a destroy.
    pub async fn destroy_plan(&self, name: &str) -> Result<Plan, WorkflowError> {
        Ok(self.wiring.desk.destroy(&DeploymentName::new(name).unwrap()).await?.0)
    }

    /// Plans and carries out a destroy, as the command does.
    pub async fn destroy(&self, name: &str) -> Result<Outcome, WorkflowError> {
        let plan = self.destroy_plan(name).await?;
        let outcome = self.engine().start(&plan).await.unwrap();
        if matches!(outcome, Outcome::Completed { .. }) {
            self.wiring.desk.forget(&DeploymentName::new(name).unwrap()).await?;
        }
        Ok(outcome)
    }
}

/// A temporary folder, in memory where that can be had: what is tested there is killed by
/// signals, never by a loss of power.
fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn cluster(setup: &Setup) -> SimBuilder {
    let mut sim = SimBuilder::new(Version::new(9, 2, 11))
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .storage(StorageSetup::lvm_thin("local-lvm").sized(setup.storage_mib))
        .pool("fedi")
        .user("fedi@pve", "unused")
        .token("fedi@pve!deploy", true)
        .role("FediGuests", IN_POOL)
        .role("FediStorage", &["Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"])
        .role("FediNetwork", &["SDN.Use"])
        .clock(Clock::scaled(setup.speed))
        .tuning(setup.tuning.clone());
    for host in &setup.hosts {
        sim = sim.node(NodeConfig {
            bridges: setup.bridges.clone(),
            cpus: 256,
            memory_gib: 4096,
            ..NodeConfig::new(host)
        });
    }
    for who in ["fedi@pve", "fedi@pve!deploy"] {
        sim = sim
            .acl("/pool/fedi", who, "FediGuests")
            .acl("/storage/local", who, "FediStorage")
            .acl("/storage/local-lvm", who, "FediStorage")
            .acl("/sdn/zones/localnetwork/vmbr0", who, "FediNetwork");
    }
    sim
}

fn host_toml(setup: &Setup, layout: &Layout, sim: &SimHandle, number: usize, host: &str) -> String {
    let first_vmid = 9000 + u32::try_from(number - 1).unwrap() * setup.vmids;
    let last_vmid = first_vmid + setup.vmids - 1;
    let address = sim.node_address(host).unwrap();
    let last = 9 + setup.addresses;
    format!(
        r#"
resolvers = ["10.78.0.53"]
[hypervisor]
endpoint = "https://{address}"
tls = {{ fingerprints = ["{fingerprint}"] }}
token = {{ file = "proxmox-token" }}
node = "{host}"
pool = "fedi"
vm-storage = "local-lvm"
image-storage = "local"
first-vmid = {first_vmid}
last-vmid = {last_vmid}
[image]
source = "{image}"
[system]
driver = "prebuilt"
folder = "{systems}"
[[addresses]]
network = "10.78.{number}.0/24"
gateway = "10.78.{number}.1"
first = "10.78.{number}.10"
last = "10.78.{number}.{last}"
[[addresses]]
network = "fd78:{number}::/64"
gateway = "fd78:{number}::1"
first = "fd78:{number}::1:10"
last = "fd78:{number}::1:{last_v6:x}"
[dns]
driver = "octodns"
caa-issuer = "ca.example.test"
[[dns.zones]]
name = "example.test"
provider = "stand-in"
servers = ["127.0.0.1"]
[dns.providers.stand-in]
class = "stand.in.Provider"
"#,
        fingerprint = sim.fingerprint(),
        image = layout.image().display(),
        systems = layout.systems().display(),
        last_v6 = 0xf + u16::from(setup.addresses),
    )
}
