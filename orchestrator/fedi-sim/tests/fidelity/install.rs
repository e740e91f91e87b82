//! A simulator set up like the two recorded installs.

use std::sync::Arc;
use std::time::Duration;

use fedi_sim::backend::{ModelBackend, ModelSettings};
use fedi_sim::{Clock, Limits, NodeConfig, Pace, SimBuilder, SimHandle, StorageSetup, Tuning, Version};

/// The connections' idle limit in the replay; the recorded one was five seconds.
pub(crate) const IDLE: Duration = Duration::from_millis(400);

/// Passwords of the recording's users.
pub(crate) fn password(user: &str) -> &'static str {
    match user {
        "root@pam" => "rootpw-probe",
        "admin@pve" => "adminpw-probe",
        "gone@pve" => "gonepw-probe",
        _ => "fedipw-probe",
    }
}

const POOL_PRIVILEGES: [&str; 17] = [
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
    "VM.GuestAgent.Audit",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
    "VM.Backup",
    "Pool.Audit",
    "VM.Audit",
];

/// Starts it. `epoch` is the simulated time of the start.
pub(crate) async fn start(version: Version, epoch: Duration) -> (SimHandle, Arc<ModelBackend>) {
    let pool: Vec<&str> = POOL_PRIVILEGES
        .iter()
        .map(|name| if version.major() < 9 && *name == "VM.GuestAgent.Audit" { "VM.Monitor" } else { name })
        .collect();
    let tuning = Tuning {
        qemu_version: "10.0.13".to_owned(),
        has_kvm: false,
        has_ovmf: false,
        start_delay: Duration::from_secs(1),
        ..Tuning::default()
    };
    let clock = Clock::virtual_at(Pace::OnRequest, epoch);
    let settings = ModelSettings {
        agent_dead: true,
        shutdown_delay: None,
        agent_delay: Duration::ZERO,
        ..ModelSettings::default()
    };
    let guests = Arc::new(ModelBackend::new(settings).on(clock.clone()));
    let mut builder = SimBuilder::new(version)
        .node(NodeConfig { ip: "10.99.0.1".to_owned(), cpus: 2, memory_gib: 24, ..NodeConfig::new("pve") })
        .storage(StorageSetup::directory("local", "/var/lib/vz").sized(258_019))
        .storage(StorageSetup::directory("tiny", "/srv/tiny").holding(&["images", "import"]).sized(40))
        .storage(StorageSetup::directory("isoonly", "/srv/only-iso").holding(&["iso"]).sized(258_019))
        .storage(StorageSetup { disabled: true, ..StorageSetup::directory("off", "/srv/off").holding(&["images"]) })
        .pool("fedi")
        .pool("other")
        .user("root@pam", password("root@pam"))
        .user("admin@pve", password("admin@pve"))
        .user("fedi@pve", password("fedi@pve"))
        .user("audit@pve", "auditpw-probe")
        .disabled_user("gone@pve", password("gone@pve"))
        .token("root@pam!full", false)
        .token("root@pam!sep", true)
        .token("admin@pve!full", false)
        .token("admin@pve!sep", true)
        .expiring_token("admin@pve!old", false, 1_600_000_000)
        .token("audit@pve!full", false)
        .token("gone@pve!full", false)
        .role("FediPool", &pool)
        .role("FediStore", &["Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"])
        .role("FediNet", &["SDN.Use"])
        .role("FediNode", &["Sys.AccessNetwork", "Sys.Audit"])
        .role("FediLook", &["Datastore.Audit"])
        .role("FediFew", &["VM.Allocate", "VM.Audit", "VM.Config.Options"])
        .acl("/", "admin@pve", "Administrator")
        .acl("/", "audit@pve", "PVEAuditor");
    for name in ["pool", "nospace", "nonet", "noalloc", "nopower"] {
        builder = builder.token(&format!("fedi@pve!{name}"), true);
    }
    let rules = [
        ("/pool/fedi", "FediPool", &["pool", "nospace", "nonet"][..]),
        ("/storage/local", "FediStore", &["pool", "nonet", "noalloc", "nopower"]),
        ("/storage/tiny", "FediStore", &["pool", "nonet", "noalloc", "nopower"]),
        ("/sdn/zones/localnetwork/vmbr0", "FediNet", &["pool", "nospace"]),
        ("/nodes/pve", "FediNode", &["pool"]),
    ];
    for (path, role, tokens) in rules {
        builder = builder.acl(path, "fedi@pve", role);
        for token in tokens {
            builder = builder.acl(path, &format!("fedi@pve!{token}"), role);
        }
    }
    let sim = builder
        .acl("/storage/local", "fedi@pve!nospace", "FediLook")
        .acl("/storage/tiny", "fedi@pve!nospace", "FediLook")
        .acl("/pool/fedi", "fedi@pve!nopower", "FediFew")
        .clock(clock)
        .backend(guests.clone())
        .tuning(tuning)
        .limits(Limits { idle: IDLE, ..Limits::default() })
        .start()
        .await
        .unwrap();
    (sim, guests)
}
