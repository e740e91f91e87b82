//! A simulated host: `fedi-sim` with guests made of containers, as a process of its own inside the sandbox.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedi_sim::{
    AclConfig, NodeConfig, PoolConfig, RoleConfig, SimBuilder, SimConfig, StorageSetup, TimingConfig, TokenConfig,
};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::layout::private_file;
use crate::nspawn::{NspawnBackend, NspawnSettings};
use crate::topology::{HOSTS, SimulatedHost};
use crate::{Result, SandboxError};

/// Port of the API.
pub(crate) const PORT: u16 = 8006;

/// The settings of one host process, as its file holds them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostSettings {
    /// Name of the host in [`crate::HOSTS`].
    pub name: String,
    /// Folder of the simulator's state, with its control socket `control.sock`.
    pub folder: PathBuf,
    /// Where the API's certificate authority is written, in PEM.
    pub ca: PathBuf,
    /// Secret half of the API token.
    pub token_secret: String,
    /// The guests.
    pub guests: NspawnSettings,
}

/// Serves a host, whose [`HostSettings`] lie in a file, until SIGTERM.
pub fn serve(settings: &Path) -> Result<()> {
    let what = format!("read `{}`", settings.display());
    let text = fs::read(settings).map_err(SandboxError::io(what.clone()))?;
    let settings: HostSettings = serde_json::from_slice(&text).map_err(|error| SandboxError::io(what)(error.into()))?;
    let host = HOSTS.iter().find(|host| host.name == settings.name);
    let host = host.ok_or_else(|| SandboxError::Command {
        what: "serve a host".to_owned(),
        output: format!("there is no host `{}`", settings.name),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(SandboxError::io("start a runtime"))?.block_on(run(host, settings))
}

async fn run(host: &SimulatedHost, settings: HostSettings) -> Result<()> {
    let failed = |error: fedi_sim::StartError| SandboxError::Command {
        what: format!("start the host `{}`", host.name),
        output: error.to_string(),
    };
    let backend = NspawnBackend::new(settings.guests)?;
    let version = format!("{}.{}", host.version, host.patch);
    let version = version.parse().map_err(|_| SandboxError::Leftover(format!("the version `{version}`")))?;
    let config = config(host, version, settings.token_secret);
    let sim = SimBuilder::from_config(config)
        .backend(Arc::new(backend))
        .control_socket(settings.folder.join("control.sock"))
        .directory(settings.folder)
        .listen(SocketAddr::new(IpAddr::V4(host.address), PORT))
        .start()
        .await
        .map_err(failed)?;
    private_file(&settings.ca, sim.ca_pem().as_bytes())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(SandboxError::io("listen for SIGTERM"))?;
    terminate.recv().await;
    Ok(())
}

/// The cluster as an administrator would have set it up for fedi: one node, a pool, two storages, and a token that
/// can do what `fedi doctor` asks for and nothing else.
fn config(host: &SimulatedHost, version: fedi_sim::Version, secret: String) -> SimConfig {
    let token = format!("{}!{}", host.user, host.token_id);
    let agent: &[&str] =
        if version.major() < 9 { &["VM.Monitor"] } else { &["VM.GuestAgent.Audit", "VM.GuestAgent.FileRead"] };
    let roles = [
        ("FediGuests", [GUESTS, agent].concat()),
        ("FediDisks", DISKS.to_vec()),
        ("FediImages", IMAGES.to_vec()),
        ("FediNetwork", vec!["SDN.Use"]),
    ];
    let granted = [
        (format!("/pool/{}", host.pool), "FediGuests"),
        (format!("/storage/{}", host.vm_storage), "FediDisks"),
        (format!("/storage/{}", host.image_storage), "FediImages"),
        (format!("/sdn/zones/localnetwork/{}", host.bridge), "FediNetwork"),
    ];
    let acls = granted.into_iter().flat_map(|(path, role)| {
        let entry = AclConfig { path, role: role.to_owned(), ..AclConfig::default() };
        let for_user = AclConfig { user: Some(host.user.to_owned()), ..entry.clone() };
        [for_user, AclConfig { token: Some(token.clone()), ..entry }]
    });
    SimConfig {
        version,
        nodes: vec![NodeConfig {
            ip: host.address.to_string(),
            bridges: vec![host.bridge.to_owned()],
            ..NodeConfig::new(host.node)
        }],
        storages: vec![
            StorageSetup::directory(host.image_storage, "/var/lib/vz").holding(&["import", "iso", "snippets"]),
            StorageSetup::lvm_thin(host.vm_storage),
        ],
        pools: vec![PoolConfig { id: host.pool.to_owned() }],
        users: Vec::new(),
        tokens: vec![TokenConfig {
            id: token.clone(),
            privsep: true,
            expire: 0,
            secret_file: None,
            secret: Some(secret),
        }],
        roles: roles
            .into_iter()
            .map(|(id, privileges)| RoleConfig {
                id: id.to_owned(),
                privileges: privileges.into_iter().map(str::to_owned).collect(),
            })
            .collect(),
        acls: acls.collect(),
        faults: Vec::new(),
        timing: TimingConfig { copy_mib_per_second: COPY_MIB_PER_SECOND, ..TimingConfig::default() },
        // Another at every start: MAC addresses are drawn from it, and all hosts share one bridge.
        seed: Uuid::new_v4().as_u64_pair().0,
    }
}

/// A good local disk: the 4 GiB image takes two seconds.
const COPY_MIB_PER_SECOND: u64 = 2048;
const GUESTS: &[&str] = &[
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
];
const DISKS: &[&str] = &["Datastore.AllocateSpace", "Datastore.Audit"];
const IMAGES: &[&str] = &["Datastore.AllocateTemplate", "Datastore.AllocateSpace", "Datastore.Audit"];
