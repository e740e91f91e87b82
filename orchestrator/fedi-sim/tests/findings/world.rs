//! The cluster that the tests use: one node, a pool, and a token with the rights a deployment needs.

use std::time::Duration;

use fedi_sim::backend::ModelSettings;
use fedi_sim::{Clock, Pace, SimBuilder, SimHandle, StorageSetup, Version};
use serde_json::{Value, json};

use crate::common::Api;

pub(crate) const NINE: Version = Version::new(9, 2, 11);
pub(crate) const EIGHT: Version = Version::new(8, 4, 21);

const POOL: [&str; 13] = [
    "VM.Allocate",
    "VM.Audit",
    "VM.PowerMgmt",
    "VM.Config.Disk",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.HWType",
    "VM.Config.Options",
    "VM.Config.Cloudinit",
    "VM.Config.CDROM",
    "Pool.Audit",
    "VM.Snapshot",
];

/// A simulated cluster with clients for it.
pub(crate) struct World {
    pub(crate) sim: SimHandle,
    /// The deployment's token.
    pub(crate) api: Api,
    /// An administrator's token.
    pub(crate) root: Api,
}

/// The usual cluster, not started yet.
pub(crate) fn builder(version: Version) -> SimBuilder {
    let agent =
        if version.major() < 9 { &["VM.Monitor"][..] } else { &["VM.GuestAgent.Audit", "VM.GuestAgent.FileRead"] };
    let pool: Vec<&str> = POOL.iter().chain(agent).copied().collect();
    let files = [("/etc/fedi/release".to_owned(), b"r1\n".to_vec())].into();
    let mut builder = SimBuilder::new(version)
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .storage(StorageSetup::directory("tiny", "/srv/tiny").sized(40))
        .pool("fedi")
        .user("root@pam", "correct horse")
        .token("root@pam!full", false)
        .token("fedi@pve!deploy", true)
        .token("fedi@pve!nothing", true)
        .role("FediPool", &pool)
        .role("FediStore", &["Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"])
        .role("FediNet", &["SDN.Use"])
        .role("FediNode", &["Sys.AccessNetwork", "Sys.Audit"])
        .clock(Clock::virtual_at(Pace::OnRequest, Duration::from_secs(1_800_000_000)))
        .guests(ModelSettings { files, ..ModelSettings::default() });
    let rules = [
        ("/pool/fedi", "FediPool"),
        ("/storage/local", "FediStore"),
        ("/storage/tiny", "FediStore"),
        ("/sdn/zones/localnetwork/vmbr0", "FediNet"),
        ("/nodes/pve", "FediNode"),
    ];
    for (path, role) in rules {
        builder = builder.acl(path, "fedi@pve", role).acl(path, "fedi@pve!deploy", role);
    }
    builder
}

pub(crate) async fn start(version: Version) -> World {
    world(builder(version).start().await.unwrap())
}

/// Clients for a started cluster, with an image in its storage.
pub(crate) fn world(sim: SimHandle) -> World {
    sim.add_image("local", "app.qcow2", 64 << 20, 1 << 20).unwrap();
    let (api, root) = (Api::new(&sim, "fedi@pve!deploy"), Api::new(&sim, "root@pam!full"));
    World { sim, api, root }
}

/// Parameters of a VM with a disk imported from the image.
pub(crate) fn machine(vmid: u32) -> Value {
    json!({
        "vmid": vmid, "name": format!("vm{vmid}"), "pool": "fedi", "memory": 256, "cores": 1, "kvm": 0, "cpu": "qemu64",
        "agent": "enabled=1", "scsihw": "virtio-scsi-single", "net0": "virtio,bridge=vmbr0",
        "ide2": "local:cloudinit", "ipconfig0": "ip=10.1.0.5/24",
        "scsi0": "local:0,import-from=local:import/app.qcow2",
    })
}

/// `machine` with more parameters.
pub(crate) fn machine_with(vmid: u32, more: &Value) -> Value {
    let mut machine = machine(vmid);
    for (key, value) in more.as_object().unwrap() {
        machine[key] = value.clone();
    }
    machine
}

impl World {
    /// Creates a VM and waits; returns the task's exit text.
    pub(crate) async fn create(&self, parameters: Value) -> String {
        let upid = self.api.post("/nodes/pve/qemu", parameters).await.upid();
        self.api.wait(&upid).await
    }
}
