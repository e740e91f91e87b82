//! Drives the simulator over HTTPS: a VM from its image to its end, and what may go wrong on the way.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedi_sim::backend::ModelSettings;
use fedi_sim::faults::{Command, Crash, Fault, RequestFault, RequestMatch};
use fedi_sim::{Pace, SimBuilder, SimHandle, StorageSetup, Version};
use proxmox_api::{
    Class, Client, Clock, CloudInit, ConfigChange, Conflict, Counter, CreateVm, Credentials, Disk, DiskSource,
    Endpoint, Error, Estimate, IpConfig, LocalImage, Missing, NetworkDevice, Options, Secret, State, StaticIp,
    SystemClock, TaskQuery, Trust, UploadProgress, Vm, Wait,
};
use uuid::Uuid;

const TOKEN: &str = "fedi@pve!deploy";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";
const VERSIONS: [Version; 2] = [Version::new(8, 4, 21), Version::new(9, 2, 11)];

/// The simulator's clock: waiting moves it.
struct SimClock(fedi_sim::Clock);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.0.now()
    }

    async fn sleep(&self, time: Duration) {
        self.0.advance(time).await;
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

/// A cluster whose imports take 20 seconds, and a token that may do what fedi does.
fn cluster(version: Version) -> SimBuilder {
    let tuning = fedi_sim::Tuning { import_delay: Duration::from_secs(20), ..fedi_sim::Tuning::default() };
    let files = [(HOST_KEY.to_owned(), b"ssh-ed25519 AAAA root@guest\n".to_vec())];
    let mut builder = SimBuilder::new(version)
        .clock(fedi_sim::Clock::virtual_now(Pace::OnRequest))
        .tuning(tuning)
        .guests(ModelSettings { files: files.into(), ..ModelSettings::default() })
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .storage(StorageSetup::lvm_thin("local-lvm"))
        .pool("fedi")
        .token(TOKEN, true);
    for who in ["fedi@pve", TOKEN] {
        builder = builder
            .acl("/pool/fedi", who, "PVEVMAdmin")
            .acl("/storage/local", who, "PVEDatastoreAdmin")
            .acl("/storage/local-lvm", who, "PVEDatastoreUser")
            .acl("/sdn/zones/localnetwork/vmbr0", who, "PVESDNUser");
    }
    builder
}

struct Setup {
    sim: SimHandle,
    client: Client,
    counter: Arc<Counter>,
}

fn options(sim: &SimHandle, credentials: Credentials) -> Options {
    let trust = Trust::Fingerprints(vec![sim.fingerprint().parse().unwrap()]);
    let clock = Arc::new(SimClock(sim.clock().clone()));
    Options::new(Endpoint::parse(&sim.url()).unwrap(), trust, credentials).with_clock(clock)
}

async fn start(builder: SimBuilder) -> Setup {
    let sim = builder.start().await.unwrap();
    let token = Credentials::Token(sim.token(TOKEN).unwrap().parse().unwrap());
    let counter = Arc::new(Counter::default());
    let client = Client::new(options(&sim, token).with_observer(counter.clone())).unwrap();
    Setup { sim, client, counter }
}

/// The same client with the machine's own clock.
fn in_real_time(setup: &Setup) -> Client {
    let token = Credentials::Token(setup.sim.token(TOKEN).unwrap().parse().unwrap());
    Client::new(options(&setup.sim, token).with_clock(Arc::new(SystemClock::new()))).unwrap()
}

fn wanted(uuid: Uuid) -> CreateVm {
    let address = Ipv4Addr::new(10, 0, 0, 11);
    let ip = StaticIp { address, prefix: 24, gateway: Some(Ipv4Addr::new(10, 0, 0, 1)) };
    CreateVm {
        description: Some("fedi: {\"deployment\":\"matrix\"}".to_owned()),
        pool: Some("fedi".to_owned()),
        uuid: Some(uuid),
        cores: 2,
        memory_mib: 2048,
        disks: vec![
            Disk::new("local-lvm", DiskSource::Image("local:import/fedi-base.qcow2".to_owned())),
            Disk::new("local-lvm", DiskSource::Blank { gib: 20 }),
        ],
        networks: vec![NetworkDevice::new("vmbr0")],
        cloud_init: Some(CloudInit {
            networks: vec![IpConfig { v4: Some(ip), v6: None }],
            ssh_keys: vec![
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3c9DHTzZ2xSGdZ7Zt3q8g2fTj4kqkYb9mXxVdq4Xyz me".to_owned(),
            ],
            ..CloudInit::new("local-lvm")
        }),
        start: true,
        ..CreateVm::new("matrix")
    }
}

fn patient() -> Wait {
    Wait::up_to(Duration::from_secs(300))
}

/// Makes a VM and waits until it is made, but not for its start.
async fn create(setup: &Setup, vm: &Vm) {
    setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 1 << 20).unwrap();
    let upid = vm.create(&wanted(Uuid::new_v4())).await.unwrap();
    setup.client.wait(&upid, &patient()).await.unwrap();
}

#[tokio::test]
async fn a_vm_lives_from_its_image_to_its_end() {
    for version in VERSIONS {
        let setup = start(cluster(version)).await;
        let node = setup.client.node("pve");
        setup.client.supported_version().await.unwrap();

        let file = tempfile::NamedTempFile::new().unwrap();
        let qcow2 = setup.sim.add_image("local", "source.qcow2", 8 << 30, 1 << 20).unwrap();
        std::fs::copy(qcow2, file.path()).unwrap();
        let image = LocalImage::read(file.path()).await.unwrap();
        let storage = node.storage("local");
        // An upload goes by the network's time, not by the simulator's.
        let real_time = in_real_time(&setup).node("pve").storage("local");
        let upid = real_time.upload(&image, "fedi-base.qcow2", &UploadProgress::new()).await.unwrap();
        setup.client.wait(&upid, &patient()).await.unwrap();
        assert_eq!(storage.image("fedi-base.qcow2").await.unwrap().unwrap().size, Some(image.size));

        let vmid = setup.client.next_vmid().await.unwrap();
        let vm = node.vm(vmid);
        assert_eq!(vm.config().await.map_err(|error| error.class().clone()).unwrap_or(None), None);
        let identity = Uuid::new_v4();
        let upid = vm.create(&wanted(identity)).await.unwrap();
        setup.client.wait(&upid, &patient()).await.unwrap();
        assert!(vm.await_start(&upid, &patient()).await.unwrap());
        assert!(setup.client.vmid_is_taken(vmid).await.unwrap());
        let config = vm.config().await.unwrap().unwrap();
        assert_eq!((config.uuid(), config.cores(), config.memory_mib()), (Some(identity), 2, 2048));
        assert_eq!(config.disk_size("scsi1"), Some(20 << 30));

        let change = ConfigChange::new().tags(&["fedi", "fedi-matrix"]).based_on(&config);
        vm.set_config(&change).await.unwrap();
        let error = vm.set_config(&change).await.unwrap_err();
        assert_eq!(*error.class(), Class::Conflict(Conflict::Digest));
        let upid = vm.grow_disk("scsi1", 30, None).await.unwrap();
        setup.client.wait(&upid, &patient()).await.unwrap();
        let config = vm.config().await.unwrap().unwrap();
        assert_eq!(config.tags(), ["fedi", "fedi-matrix"]);
        assert_eq!(config.disk_size("scsi1"), Some(30 << 30));

        while !vm.agent_answers().await.unwrap() {
            setup.sim.clock().advance(Duration::from_secs(1)).await;
        }
        let key = vm.read_guest_file(HOST_KEY).await.unwrap().unwrap();
        assert_eq!(key.content, b"ssh-ed25519 AAAA root@guest\n");

        let error = vm.destroy().await.unwrap_err();
        assert_eq!(*error.class(), Class::State(State::Running));
        let upid = vm.shutdown(60).await.unwrap();
        setup.client.wait(&upid, &patient()).await.unwrap();
        let upid = vm.destroy().await.unwrap();
        setup.client.wait(&upid, &patient()).await.unwrap();
        assert!(!setup.client.vmid_is_taken(vmid).await.unwrap());
        assert!(setup.sim.volumes("local-lvm").is_empty());
    }
}

#[tokio::test]
async fn a_known_import_takes_few_requests() {
    let setup = start(cluster(VERSIONS[1])).await;
    setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 1 << 20).unwrap();
    let vm = setup.client.node("pve").vm(9001);
    let begin = setup.sim.clock().now();
    let upid = vm.create(&wanted(Uuid::new_v4())).await.unwrap();
    let estimate = Estimate::about(Duration::from_secs(20));
    let end = setup.client.wait(&upid, &patient().expecting(Some(estimate))).await.unwrap();
    let task = setup.sim.tasks().into_iter().find(|task| task.upid == upid.to_string()).unwrap();
    assert_eq!(task.status.as_deref(), Some("OK"));
    let estimate = Estimate::about(Duration::from_millis(650));
    assert!(vm.await_start(&upid, &patient().expecting(Some(estimate))).await.unwrap());
    assert!(end.questions <= 3, "{}", end.questions);
    assert!(end.took < Duration::from_millis(20_400), "{:?}", end.took);
    assert!(setup.sim.clock().now().saturating_sub(begin) < Duration::from_secs(23));
    assert!(setup.counter.total() <= 5, "{:?}", setup.counter.counts());
}

#[tokio::test]
async fn a_start_that_fails_is_told_though_the_create_was_fine() {
    let guests = ModelSettings { start_error: Some("QEMU exited with code 1".to_owned()), ..ModelSettings::default() };
    let setup = start(cluster(VERSIONS[1]).guests(guests)).await;
    setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 1 << 20).unwrap();
    let vm = setup.client.node("pve").vm(9001);
    let upid = vm.create(&wanted(Uuid::new_v4())).await.unwrap();
    setup.client.wait(&upid, &patient()).await.unwrap();
    let error = vm.await_start(&upid, &patient()).await.unwrap_err();
    assert_eq!(error.to_string(), "The task `qmstart` failed");
    assert_eq!(error.message(), "start failed: QEMU exited with code 1");
}

#[tokio::test]
async fn a_vm_that_nothing_starts_is_no_error() {
    let setup = start(cluster(VERSIONS[1])).await;
    setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 1 << 20).unwrap();
    let vm = setup.client.node("pve").vm(9001);
    let upid = vm.create(&CreateVm { start: false, ..wanted(Uuid::new_v4()) }).await.unwrap();
    setup.client.wait(&upid, &patient()).await.unwrap();
    assert!(!vm.await_start(&upid, &patient()).await.unwrap());
    let upid = vm.start().await.unwrap();
    setup.client.wait(&upid, &patient()).await.unwrap();
    assert!(vm.status().await.unwrap().unwrap().is_running());
}

#[tokio::test]
async fn an_id_that_is_taken_is_a_conflict() {
    let setup = start(cluster(VERSIONS[1])).await;
    let node = "pve".to_owned();
    setup.sim.control(Command::ForeignVm { vmid: 9001, node, uuid: None }).await;
    let vm = setup.client.node("pve").vm(9001);
    let error = vm.create(&wanted(Uuid::new_v4())).await.unwrap_err();
    assert_eq!(*error.class(), Class::Conflict(Conflict::Exists));
    assert!(matches!(vm.config().await.unwrap_err().class(), Class::Permission { .. }), "it is not ours to see");
    assert!(setup.client.vmid_is_taken(9001).await.unwrap());
}

#[tokio::test]
async fn a_lost_answer_is_found_among_the_tasks() {
    for fault in
        [RequestFault::DropReply, RequestFault::FailAfter { status: 596, reason: "Connection timed out".to_owned() }]
    {
        let setup = start(cluster(VERSIONS[1])).await;
        setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 1 << 20).unwrap();
        let on = RequestMatch { method: Some("POST".to_owned()), times: 1, ..RequestMatch::default() };
        setup.sim.inject(Fault::Request { on, fault });
        let vm = setup.client.node("pve").vm(9001);
        let since = setup.sim.clock().seconds();
        let identity = Uuid::new_v4();
        let error = vm.create(&wanted(identity)).await.unwrap_err();
        assert_eq!(*error.class(), Class::Ambiguous);
        let tasks = vm.tasks(TaskQuery::default().kind("qmcreate").since(since)).await.unwrap();
        let [task] = &tasks[..] else { panic!("one task: {tasks:?}") };
        setup.client.wait(&task.upid, &patient()).await.unwrap();
        assert_eq!(vm.config().await.unwrap().unwrap().uuid(), Some(identity));
    }
}

#[tokio::test]
async fn a_create_that_dies_leaves_a_locked_vm() {
    let setup = start(cluster(VERSIONS[1])).await;
    setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 1 << 20).unwrap();
    setup.sim.inject(Fault::Crash(Crash { task: "qmcreate".to_owned(), id: None, point: "disk-copied".to_owned() }));
    let vm = setup.client.node("pve").vm(9001);
    let upid = vm.create(&wanted(Uuid::new_v4())).await.unwrap();
    let error = setup.client.wait(&upid, &patient()).await.unwrap_err();
    assert_eq!(*error.class(), Class::Ambiguous);
    assert!(setup.client.vmid_is_taken(9001).await.unwrap());
    assert!(matches!(vm.config().await.unwrap_err().class(), Class::Permission { .. }), "it never came into the pool");
}

#[tokio::test]
async fn a_full_storage_is_told_from_the_log() {
    let setup = start(
        cluster(VERSIONS[1])
            .storage(StorageSetup::directory("tiny", "/srv/tiny"))
            .acl("/storage/tiny", "fedi@pve", "PVEDatastoreUser")
            .acl("/storage/tiny", TOKEN, "PVEDatastoreUser"),
    )
    .await;
    setup.sim.add_image("local", "fedi-base.qcow2", 8 << 30, 64 << 20).unwrap();
    setup.sim.control(Command::LeaveSpace { storage: "tiny".to_owned(), bytes: 1 << 20 }).await;
    let mut vm = wanted(Uuid::new_v4());
    vm.disks[0].storage = "tiny".to_owned();
    let upid = setup.client.node("pve").vm(9001).create(&vm).await.unwrap();
    let error = setup.client.wait(&upid, &patient()).await.unwrap_err();
    assert_eq!(*error.class(), Class::NoSpace, "{error:?}");
}

#[tokio::test]
async fn what_is_not_there_is_nothing_and_what_is_not_allowed_is_told() {
    let root = "root@pam!full";
    let setup = start(cluster(VERSIONS[1]).token(root, false)).await;
    let token = Credentials::Token(setup.sim.token(root).unwrap().parse().unwrap());
    let all = Client::new(options(&setup.sim, token)).unwrap();
    let vm = all.node("pve").vm(9001);
    assert_eq!(vm.config().await.unwrap(), None);
    assert_eq!(vm.status().await.unwrap(), None);
    assert_eq!(all.node("pve").storage("local").volume("local:import/none.qcow2").await.unwrap(), None);
    assert!(all.node("nope").vm(9001).config().await.unwrap_err().class().is_missing(Missing::Node));

    let error =
        setup.client.node("pve").storage("local").download("https://example.org/a", "a.qcow2", &"0".repeat(64)).await;
    assert!(matches!(error.unwrap_err().class(), Class::Permission { .. }), "Sys.AccessNetwork was not granted");
    let permissions = setup.client.permissions().await.unwrap();
    assert!(permissions.allow("/pool/fedi", "VM.Allocate"));
    assert!(!permissions.allow("/nodes/pve", "Sys.AccessNetwork"));
}

#[tokio::test]
async fn without_quorum_nothing_is_changed() {
    let setup = start(cluster(VERSIONS[1])).await;
    let vm = setup.client.node("pve").vm(9001);
    create(&setup, &vm).await;
    setup.sim.control(Command::Quorum { quorate: false }).await;
    let error = vm.set_config(&ConfigChange::new().set("cores", 4)).await.unwrap_err();
    assert_eq!(*error.class(), Class::Quorum);
    let error: Error = setup.client.node("pve").vm(9002).create(&wanted(Uuid::new_v4())).await.unwrap_err();
    assert_eq!(*error.class(), Class::Quorum);
}

#[tokio::test]
async fn a_password_does_as_well_as_a_token() {
    let sim =
        cluster(VERSIONS[1]).user("op@pve", "correct horse").acl("/", "op@pve", "Administrator").start().await.unwrap();
    let login = |password| Credentials::Password { user: "op@pve".to_owned(), password: Secret::new(password) };
    let client = Client::new(options(&sim, login("correct horse"))).unwrap();
    client.version().await.unwrap();
    let upid = client.node("pve").vm(9001).create(&CreateVm::new("empty")).await.unwrap();
    client.wait(&upid, &patient()).await.unwrap();
    let error = Client::new(options(&sim, login("wrong"))).unwrap().version().await.unwrap_err();
    assert_eq!(*error.class(), Class::Credentials);
    let error =
        Client::new(options(&sim, Credentials::Token("op@pve!none=x".parse().unwrap()))).unwrap().version().await;
    assert_eq!(*error.unwrap_err().class(), Class::Credentials);
}
