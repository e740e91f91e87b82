//! The Proxmox driver on the simulator: what it makes, what it never touches, and what
//! it does when things go wrong half-way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fedi_drivers::hypervisor::{Memory, ProxmoxHost};
use fedi_engine::drivers::{DriverErrorKind, Hypervisor, NoStep, StepContext};
use fedi_model::inventory::{Credential, Hypervisor as Settings, HypervisorDriver, Tls};
use fedi_model::name::{AppName, DeploymentName, HostName};
use fedi_model::resource::{Image, NicAddress, Vm};
use fedi_sim::backend::ModelSettings;
use fedi_sim::faults::{Command, Crash, Fault, RequestFault, RequestMatch};
use fedi_sim::{SimBuilder, SimHandle, StorageSetup, Tuning, Version, empty_qcow2};
use proxmox_api::Counter;
use sha2::{Digest, Sha256};
use uuid::Uuid;

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

#[derive(Default)]
struct Notebook(Mutex<BTreeMap<String, String>>);

#[async_trait]
impl Memory for Notebook {
    async fn recall(&self, key: &str) -> Option<String> {
        self.0.lock().unwrap().get(key).cloned()
    }

    async fn remember(&self, key: &str, value: &str) {
        self.0.lock().unwrap().insert(key.to_owned(), value.to_owned());
    }
}

struct Place {
    sim: SimHandle,
    host: ProxmoxHost,
    requests: Arc<Counter>,
    image: Image,
    _folder: tempfile::TempDir,
}

fn quick() -> Tuning {
    Tuning {
        start_delay: Duration::from_millis(30),
        task_delay: Duration::from_millis(5),
        broadcast_interval: Duration::ZERO,
        ..Tuning::default()
    }
}

fn cluster(tuning: Tuning) -> SimBuilder {
    let mut sim = SimBuilder::new(Version::new(9, 2, 11))
        .nodes(&["pve1", "pve2"])
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .pool("fedi")
        .user("fedi@pve", "unused")
        .token("fedi@pve!deploy", true)
        .role("FediGuests", IN_POOL)
        .role(
            "FediStorage",
            &["Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit", "Datastore.Allocate"],
        )
        .role("FediNetwork", &["SDN.Use"])
        .guests(ModelSettings::default())
        .tuning(tuning);
    for who in ["fedi@pve", "fedi@pve!deploy"] {
        sim = sim.acl("/pool/fedi", who, "FediGuests").acl("/storage/local", who, "FediStorage").acl(
            "/sdn/zones/localnetwork/vmbr0",
            who,
            "FediNetwork",
        );
    }
    sim
}

fn settings(sim: &SimHandle) -> Settings {
    Settings {
        driver: HypervisorDriver::Proxmox,
        endpoint: sim.url(),
        tls: Tls::Fingerprints(vec![sim.fingerprint().to_owned()]),
        token: Credential::Env("unused".to_owned()),
        node: "pve1".to_owned(),
        pool: "fedi".to_owned(),
        vm_storage: "local".to_owned(),
        image_storage: "local".to_owned(),
        bridge: "vmbr0".to_owned(),
        vlan: None,
        first_vmid: 9000,
        last_vmid: 9003,
        cpu: "x86-64-v2-AES".to_owned(),
    }
}

async fn place() -> Place {
    place_with(cluster(quick()), |_| {}).await
}

async fn place_with(sim: SimBuilder, change: impl FnOnce(&mut Settings)) -> Place {
    let sim = sim.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("guest.qcow2");
    let bytes = empty_qcow2();
    std::fs::write(&path, &bytes).unwrap();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let mut settings = settings(&sim);
    change(&mut settings);
    let requests = Arc::new(Counter::default());
    let host = host(&sim, settings, Some(requests.clone()));
    let image = Image {
        host: HostName::new("proxmox1").unwrap(),
        file: format!("fedi-guest-{}.qcow2", &sha256[..16]),
        sha256,
        source: path.display().to_string(),
        bytes: None,
    };
    Place { sim, host, requests, image, _folder: folder }
}

fn host(sim: &SimHandle, settings: Settings, requests: Option<Arc<Counter>>) -> ProxmoxHost {
    let token = sim.token("fedi@pve!deploy").unwrap();
    let requests = requests.map(|requests| requests as Arc<dyn proxmox_api::Observer>);
    let memory = Arc::new(Notebook::default());
    ProxmoxHost::observed(HostName::new("proxmox1").unwrap(), settings, &token, None, memory, requests).unwrap()
}

fn vm(name: &str, image: &Image) -> Vm {
    Vm {
        deployment: DeploymentName::new(name).unwrap(),
        app: AppName::new("matrix").unwrap(),
        host: HostName::new("proxmox1").unwrap(),
        uuid: Uuid::new_v4(),
        vmid: None,
        cores: 2,
        memory_mib: 2048,
        state_gib: 10,
        image: image.file.clone(),
        addresses: vec![
            NicAddress { address: "10.0.0.10/24".parse().unwrap(), gateway: "10.0.0.1".parse().unwrap() },
            NicAddress { address: "fd00::10/64".parse().unwrap(), gateway: "fd00::1".parse().unwrap() },
        ],
        resolvers: vec!["10.0.0.53".parse().unwrap()],
        authorized_keys: vec![
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsABgH5C9okWi0dh2l9GKJl fedi".to_owned(),
        ],
        running: true,
    }
}

impl Place {
    async fn with_image(self) -> Self {
        self.host.ensure_image(&self.image, &NoStep::default()).await.unwrap();
        self
    }

    /// Begins to make it; the process dies while the import runs: the future is dropped.
    async fn dies_in_import(&self, vm: &Vm, cx: &NoStep) {
        let begun = async {
            while cx.recall("upid").await.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            made = self.host.ensure_vm(vm, cx) => panic!("the import was quicker than the crash: {made:?}"),
            () = begun => {}
        }
    }

    /// As another process has it, which remembers nothing.
    fn another(&self) -> ProxmoxHost {
        host(&self.sim, settings(&self.sim), None)
    }

    async fn make(&self, vm: &Vm) -> Vm {
        self.host.ensure_vm(vm, &NoStep::default()).await.unwrap()
    }

    fn fail(&self, method: &str, path: &str, fault: RequestFault) {
        let on = RequestMatch { method: Some(method.to_owned()), path: Some(path.to_owned()), skip: 0, times: 1 };
        self.sim.inject(Fault::Request { on, fault });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_brought_once() {
    let place = place().await;
    assert_eq!(place.host.observe_image(&place.image).await.unwrap(), None);
    let made = place.host.ensure_image(&place.image, &NoStep::default()).await.unwrap();
    assert_eq!(made.bytes, Some(1 << 16));
    place.host.ensure_image(&place.image, &NoStep::default()).await.unwrap();
    assert_eq!(place.host.images().await.unwrap().len(), 1);
    let uploads = place.requests.counts().into_iter().filter(|((_, path), _)| path.ends_with("/upload"));
    assert_eq!(uploads.map(|(_, count)| count).sum::<u64>(), 1);
    place.host.remove_image(&place.image, &NoStep::default()).await.unwrap();
    assert!(place.host.images().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_what_its_digest_says_does_not_stay() {
    let place = place().await;
    let wrong = Image { sha256: "0".repeat(64), ..place.image.clone() };
    let error = place.host.ensure_image(&wrong, &NoStep::default()).await.unwrap_err();
    assert!(error.hint.as_deref().unwrap_or_default().contains("damaged"), "{error:?}");
    assert!(place.host.images().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_made_found_and_left_alone() {
    let place = place().await.with_image().await;
    let wanted = vm("matrix", &place.image);
    place.host.observe_vm(&wanted).await.unwrap();
    let made = place.make(&wanted).await;
    assert_eq!((made.vmid, made.running), (Some(9000), true));
    assert_eq!(place.host.observe_vm(&wanted).await.unwrap().unwrap(), made);
    let view = place.sim.vm(9000).unwrap();
    assert_eq!(view.pool.as_deref(), Some("fedi"));
    assert!(view.config["description"].contains("\"deployment\":\"matrix\""));
    assert_eq!(view.config["protection"], "1");
    let tasks = place.sim.tasks().len();
    place.make(&wanted).await;
    assert_eq!(place.sim.tasks().len(), tasks, "a second run started something");
    assert_eq!(place.host.vms().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_changed_in_place() {
    let place = place().await.with_image().await;
    let wanted = vm("matrix", &place.image);
    place.make(&wanted).await;
    let larger = Vm { cores: 4, memory_mib: 4096, state_gib: 20, ..wanted.clone() };
    let changed = place.make(&larger).await;
    assert_eq!((changed.cores, changed.memory_mib, changed.state_gib, changed.running), (4, 4096, 20, true));
    assert_eq!(place.host.observe_vm(&wanted).await.unwrap().unwrap(), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_destroyed_with_its_disks_and_only_once() {
    let place = place().await.with_image().await;
    let wanted = vm("matrix", &place.image);
    let made = place.make(&wanted).await;
    let disks = place.sim.volumes("local").len();
    place.host.remove_vm(&made, &NoStep::default()).await.unwrap();
    assert!(place.sim.vmids().is_empty());
    assert!(place.sim.volumes("local").len() < disks);
    place.host.remove_vm(&made, &NoStep::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_a_stranger_took_is_left_alone() {
    let place = place().await.with_image().await;
    let wanted = vm("matrix", &place.image);
    let made = place.make(&wanted).await;
    place.host.remove_vm(&made, &NoStep::default()).await.unwrap();
    let uuid = Some(Uuid::new_v4());
    place.sim.control(Command::ForeignVm { vmid: 9000, node: "pve1".to_owned(), uuid }).await;
    // The journal still says 9000: it is not ours any more.
    assert_eq!(place.host.observe_vm(&made).await.unwrap(), None);
    place.host.remove_vm(&made, &NoStep::default()).await.unwrap();
    assert_eq!(place.sim.vmids(), vec![9000]);
    // A new VM takes the next number.
    let again = place.make(&vm("matrix", &place.image)).await;
    assert_eq!(again.vmid, Some(9001));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_lost_its_mark_is_not_destroyed() {
    let place = place().await.with_image().await;
    let made = place.make(&vm("matrix", &place.image)).await;
    let option = "description".to_owned();
    place.sim.control(Command::SetOption { vmid: 9000, option, value: Some("mine".to_owned()) }).await;
    let error = place.host.remove_vm(&made, &NoStep::default()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Foreign);
    assert!(place.sim.vm(9000).unwrap().running);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_taken() {
    let place = place().await.with_image().await;
    for vmid in 9000..=9003 {
        place.sim.control(Command::ForeignVm { vmid, node: "pve2".to_owned(), uuid: None }).await;
    }
    let error = place.host.ensure_vm(&vm("matrix", &place.image), &NoStep::default()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Exhausted);
    assert!(error.hint.unwrap().contains("last-vmid"));
}

/// Until an import has ended, its VM is in no pool, and no list has it.
#[tokio::test(flavor = "multi_thread")]
async fn one_in_the_midst_of_its_import_keeps_its_number() {
    let tuning = Tuning { import_delay: Duration::from_secs(1), ..quick() };
    let place = place_with(cluster(tuning), |_| {}).await.with_image().await;
    let (one, two) = (vm("one", &place.image), vm("two", &place.image));
    let (first, second) = (NoStep::default(), NoStep::default());
    let later = async {
        let begun = || place.sim.tasks().iter().any(|task| task.upid.contains(":qmcreate:") && task.status.is_none());
        while !begun() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        place.host.ensure_vm(&two, &second).await
    };
    let (one, two) = tokio::join!(place.host.ensure_vm(&one, &first), later);
    assert_eq!((one.unwrap().vmid, two.unwrap().vmid), (Some(9000), Some(9001)));
    let posts = place.sim.requests().iter().filter(|it| it.method == "POST" && it.path.ends_with("/qemu")).count();
    assert_eq!(posts, 2, "nobody tried a number that was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_take_two_numbers() {
    let place = place().await.with_image().await;
    let (one, two) = (vm("one", &place.image), vm("two", &place.image));
    let (first, second) = (NoStep::default(), NoStep::default());
    let (one, two) = tokio::join!(place.host.ensure_vm(&one, &first), place.host.ensure_vm(&two, &second));
    let mut numbers = vec![one.unwrap().vmid.unwrap(), two.unwrap().vmid.unwrap()];
    numbers.sort_unstable();
    assert_eq!(numbers, vec![9000, 9001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_found_and_not_repeated() {
    let place = place().await.with_image().await;
    place.fail("POST", "/nodes/pve1/qemu", RequestFault::DropReply);
    let wanted = vm("matrix", &place.image);
    let cx = NoStep::default();
    let made = place.host.ensure_vm(&wanted, &cx).await.unwrap();
    assert_eq!(made.vmid, Some(9000));
    assert_eq!(place.sim.vmids(), vec![9000]);
    let creates = place.sim.tasks().into_iter().filter(|task| task.upid.contains(":qmcreate:"));
    assert_eq!(creates.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_was_begun_before_a_crash_is_taken_up() {
    let place = place().await.with_image().await;
    place.sim.control(Command::ImportDelay { milliseconds: 800 }).await;
    let wanted = vm("matrix", &place.image);
    let cx = NoStep::default();
    place.dies_in_import(&wanted, &cx).await;
    assert_eq!(cx.recall("vmid").await.as_deref(), Some("9000"));
    let made = place.host.ensure_vm(&wanted, &cx).await.unwrap();
    assert_eq!((made.vmid, made.running), (Some(9000), true));
    assert_eq!(place.sim.vmids(), vec![9000]);
}

/// A list that was read while the import ran lacks the VM, and is not gone by ever since.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_ended_meanwhile_is_seen_by_whoever_asks_next() {
    let place = place().await.with_image().await;
    place.sim.control(Command::ImportDelay { milliseconds: 800 }).await;
    let wanted = vm("matrix", &place.image);
    let cx = NoStep::default();
    place.dies_in_import(&wanted, &cx).await;
    place.host.observe_vm(&wanted).await.unwrap();
    let ended = || place.sim.vm(9000).is_some_and(|vm| vm.running);
    while !ended() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.host.ensure_vm(&wanted, &cx).await.unwrap();
    assert_eq!(place.host.observe_vm(&wanted).await.unwrap().and_then(|vm| vm.vmid), Some(9000));
}

/// A number can be given again before a list has a name for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_had_before_is_no_reason_to_look_away() {
    let rarely = Tuning { broadcast_interval: Duration::from_secs(3600), ..quick() };
    let place = place_with(cluster(rarely), |_| {}).await.with_image().await;
    let first = vm("matrix", &place.image);
    let made = place.make(&first).await;
    place.host.remove_vm(&made, &NoStep::default()).await.unwrap();
    place.sim.control(Command::ImportDelay { milliseconds: 800 }).await;
    let second = vm("matrix", &place.image);
    let cx = NoStep::default();
    place.dies_in_import(&second, &cx).await;
    let made = place.host.ensure_vm(&second, &cx).await.unwrap();
    assert_eq!(made.vmid, Some(9000));
    assert_eq!(place.host.observe_vm(&second).await.unwrap(), Some(made));
}

/// A broadcast during a create takes the VM for one without a name, and stays for seconds.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_broadcast_while_it_was_made_is_found() {
    let tuning =
        Tuning { broadcast_interval: Duration::from_secs(1), import_delay: Duration::from_millis(1200), ..quick() };
    let place = place_with(cluster(tuning), |_| {}).await.with_image().await;
    let wanted = vm("matrix", &place.image);
    let others_look = async {
        loop {
            place.another().observe_vm(&wanted).await.unwrap();
        }
    };
    let cx = NoStep::default();
    let made = tokio::select! {
        made = place.host.ensure_vm(&wanted, &cx) => made.unwrap(),
        () = others_look => unreachable!(),
    };
    assert_eq!(place.another().observe_vm(&wanted).await.unwrap(), Some(made));
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_a_create_that_still_runs_aborts_it() {
    let place = place().await.with_image().await;
    place.sim.control(Command::ImportDelay { milliseconds: 60_000 }).await;
    let wanted = vm("matrix", &place.image);
    let cx = NoStep::default();
    place.dies_in_import(&wanted, &cx).await;
    place.host.remove_vm(&wanted, &cx).await.unwrap();
    assert!(place.sim.vmids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_died_on_the_node_is_named_and_stepped_around() {
    let place = place().await.with_image().await;
    place.sim.inject(Fault::Crash(Crash { task: "qmcreate".to_owned(), id: None, point: "disk-allocated".to_owned() }));
    let wanted = vm("matrix", &place.image);
    let error = place.host.ensure_vm(&wanted, &NoStep::default()).await.unwrap_err();
    assert!(error.hint.unwrap().contains("qm unlock 9000 && qm destroy 9000"));
    assert!(error.left.unwrap().contains("9000"));
    // A new try takes the next number; the half-made VM is nobody's to touch.
    let made = place.make(&wanted).await;
    assert_eq!(made.vmid, Some(9001));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_under_a_create_that_went_well_is_seen() {
    let broken = ModelSettings { start_error: Some("no such bridge".to_owned()), ..ModelSettings::default() };
    let place = place_with(cluster(quick()).guests(broken), |_| {}).await.with_image().await;
    let error = place.host.ensure_vm(&vm("matrix", &place.image), &NoStep::default()).await.unwrap_err();
    assert!(error.message.contains("Failed to start VM `matrix`"), "{error:?}");
    assert!(error.left.unwrap().contains("exists and is stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_storage_is_said_to_be_full() {
    let place = place().await.with_image().await;
    place.sim.control(Command::LeaveSpace { storage: "local".to_owned(), bytes: 1000 }).await;
    let error = place.host.ensure_vm(&vm("matrix", &place.image), &NoStep::default()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Exhausted, "{error:?}");
    assert!(place.sim.vmids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_quorum_is_said() {
    let place = place().await.with_image().await;
    place.sim.control(Command::Quorum { quorate: false }).await;
    let error = place.host.ensure_vm(&vm("matrix", &place.image), &NoStep::default()).await.unwrap_err();
    assert!(error.hint.unwrap().contains("quorum"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_was_lost_in_a_596_is_looked_up() {
    let place = place().await.with_image().await;
    let fault = RequestFault::FailAfter { status: 596, reason: "Broken pipe".to_owned() };
    place.fail("POST", "/nodes/pve1/qemu", fault);
    let made = place.make(&vm("matrix", &place.image)).await;
    assert_eq!(made.vmid, Some(9000));
    // And when nothing had happened, the caller is told that it may have.
    let fault = RequestFault::Fail { status: 596, reason: "Broken pipe".to_owned() };
    place.fail("POST", "/nodes/pve1/qemu", fault);
    let error = place.host.ensure_vm(&vm("other", &place.image), &NoStep::default()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable);
    assert!(error.left.unwrap().contains("may be half-made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fingerprint_and_wrong_token() {
    let other = format!("{}:00", ["00"; 31].join(":"));
    let place = place_with(cluster(quick()), |settings| settings.tls = Tls::Fingerprints(vec![other])).await;
    let error = place.host.examine().await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Denied);
    assert!(error.hint.unwrap().contains(place.sim.fingerprint()), "the fingerprint that it shows is named");

    let settings = settings(&place.sim);
    let token = format!("fedi@pve!deploy={}", Uuid::nil());
    let host = HostName::new("proxmox1").unwrap();
    let host = ProxmoxHost::new(host, settings, &token, None, Arc::new(Notebook::default())).unwrap();
    let error = host.examine().await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Denied);
    assert!(!format!("{error:?}").contains(&Uuid::nil().to_string()), "the secret is in the error");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_doctor_prints_mends_what_is_missing() {
    let sim = SimBuilder::new(Version::new(9, 2, 11))
        .nodes(&["pve1"])
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .pool("fedi")
        .user("fedi@pve", "unused")
        .token("fedi@pve!deploy", true)
        .role("Some", &["VM.Audit"])
        .acl("/pool/fedi", "fedi@pve", "Some")
        .acl("/pool/fedi", "fedi@pve!deploy", "Some");
    let place = place_with(sim, |_| {}).await;
    let report = place.host.examine().await.unwrap();
    let lacks = |privilege: &str| report.missing.iter().any(|right| right.privilege == privilege);
    assert!(lacks("VM.Allocate") && lacks("SDN.Use") && !lacks("VM.Audit"));
    // The printed commands, applied, leave nothing missing.
    let mut mended = SimBuilder::new(Version::new(9, 2, 11))
        .nodes(&["pve1"])
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .pool("fedi")
        .user("fedi@pve", "unused")
        .token("fedi@pve!deploy", true);
    for command in &report.grant {
        let words: Vec<&str> =
            command.split(['"', '\'']).flat_map(|part| part.split(' ')).filter(|word| !word.is_empty()).collect();
        mended = match words.as_slice() {
            ["pveum", "role", "add", role, "--privs", privileges @ ..] => mended.role(role, privileges),
            ["pveum", "acl", "modify", path, "--roles", role, "--users" | "--tokens", who] => {
                mended.acl(path, who, role)
            }
            other => panic!("an unknown command: {other:?}"),
        };
    }
    let report = place_with(mended, |_| {}).await.host.examine().await.unwrap();
    assert!(report.missing.is_empty(), "{:?}", report.missing);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}
