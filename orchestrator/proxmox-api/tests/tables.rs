//! Holds every request of the client against the tables of every release, on the wire.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;

use common::checked::{Checked, UPID};
use common::options;
use proxmox_api::{
    Client, CloudInit, ConfigChange, Counter, CreateVm, Disk, DiskSource, IpConfig, LocalImage, NetworkDevice, Power,
    StaticIp, TaskQuery, TaskSource, UploadProgress, VmConfig,
};
use proxmox_schema::{PveVersion, Schema};
use serde_json::json;

#[tokio::test]
async fn every_request_fits_the_tables_of_every_release() {
    for version in PveVersion::KNOWN {
        let checked = Checked::start(version).await;
        let counter = Arc::new(Counter::default());
        let options = options(&checked.server).with_observer(counter.clone());
        send_everything(&Client::new(options).unwrap()).await;
        assert_eq!(checked.wrong(), Vec::<String>::new());

        // What the observer calls the endpoints is what the tables call them.
        let schema = Schema::for_version(version);
        for (method, template) in counter.counts().into_keys() {
            assert!(schema.endpoint(method, template).is_some(), "{method} {template}");
            assert!(checked.reached().contains(&(method, template.to_owned())), "{method} {template}");
        }
    }
}

async fn send_everything(client: &Client) {
    let upid = UPID.parse().unwrap();
    let node = client.node("pve");
    let vm = node.vm(100);
    let storage = node.storage("local");

    client.supported_version().await.unwrap();
    client.nodes().await.unwrap();
    client.vms().await.unwrap();
    client.next_vmid().await.unwrap();
    client.vmid_is_taken(9001).await.unwrap();
    client.permissions().await.unwrap();
    client.permissions_on("/pool/fedi").await.unwrap();
    client.pool("fedi").await.unwrap();
    client.task_state(&upid).await.unwrap();
    client.task_log(&upid).await.unwrap();
    client.stop_task(&upid).await.unwrap();

    node.storages().await.unwrap();
    node.bridges().await.unwrap();
    node.certificates().await.unwrap();
    let query = TaskQuery { source: TaskSource::Active, limit: Some(10), ..TaskQuery::of_vm(100) };
    node.tasks(&query.kind("qmstart").since(1_795_245_012)).await.unwrap();
    vm.tasks(TaskQuery::default()).await.unwrap();

    storage.images().await.unwrap();
    storage.content(None).await.unwrap();
    storage.volume("local:import/a b.qcow2").await.unwrap();
    let digest = "0".repeat(64);
    storage.download("https://example.org/a.qcow2", "a.qcow2", &digest).await.unwrap();
    storage.delete_image("a.qcow2").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let image = LocalImage::read(file.path()).await.unwrap();
    storage.upload(&image, &image.address.file_name("fedi"), &UploadProgress::new()).await.unwrap();

    vm.create(&CreateVm::new("plain")).await.unwrap();
    vm.create(&whole_vm()).await.unwrap();
    vm.config().await.unwrap();
    let config: VmConfig =
        serde_json::from_value(json!({"digest": "f498d2b8720763277fd86ceb0e3297619d96b151"})).unwrap();
    let change = ConfigChange::new().tags(&["fedi", "fedi-mastodon"]).set("cores", 4).set("onboot", true);
    let change = change.delete("net1").based_on(&config);
    vm.set_config(&change).await.unwrap();
    vm.set_config_in_background(&change).await.unwrap();
    vm.status().await.unwrap();
    vm.start().await.unwrap();
    vm.stop().await.unwrap();
    vm.shutdown(60).await.unwrap();
    vm.power(Power::Reboot { seconds: 60 }).await.unwrap();
    vm.grow_disk("scsi1", 100, config.digest()).await.unwrap();
    vm.destroy().await.unwrap();

    vm.agent_answers().await.unwrap();
    vm.guest_interfaces().await.unwrap();
    vm.read_guest_file("/etc/ssh/ssh_host_ed25519_key.pub").await.unwrap();
    let pid = vm.guest_exec(&["systemctl", "is-system-running"], Some("input")).await.unwrap();
    vm.guest_exec_status(pid).await.unwrap();
}

/// A VM that uses every field.
fn whole_vm() -> CreateVm {
    let address =
        StaticIp { address: Ipv4Addr::new(10, 0, 0, 11), prefix: 24, gateway: Some(Ipv4Addr::new(10, 0, 0, 1)) };
    let v6 = StaticIp { address: "2001:db8::b".parse().unwrap(), prefix: 64, gateway: "2001:db8::1".parse().ok() };
    CreateVm {
        description: Some("fedi: {\"deployment\":\"mastodon\"}".to_owned()),
        pool: Some("fedi".to_owned()),
        uuid: Some(uuid::Uuid::nil()),
        cpu: Some("x86-64-v2-AES".to_owned()),
        cores: 4,
        memory_mib: 8192,
        disks: vec![
            Disk::new("local-lvm", DiskSource::Image("local:import/fedi-base-0011.qcow2".to_owned())),
            Disk { backup: false, ..Disk::new("local-lvm", DiskSource::Blank { gib: 50 }) },
        ],
        networks: vec![
            NetworkDevice {
                mac: Some("BC:24:11:00:00:01".to_owned()),
                vlan: Some(7),
                firewall: true,
                ..NetworkDevice::new("vmbr0")
            },
            NetworkDevice::new("vmbr1"),
        ],
        cloud_init: Some(CloudInit {
            networks: vec![IpConfig { v4: Some(address), v6: Some(v6) }, IpConfig::default()],
            resolvers: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            search_domain: Some("example.org".to_owned()),
            user: Some("root".to_owned()),
            ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA+/= me@host".to_owned(); 2],
            upgrade: true,
            ..CloudInit::new("local-lvm")
        }),
        on_boot: true,
        protection: true,
        start: true,
        other: vec![("bios".to_owned(), "ovmf".to_owned())],
        ..CreateVm::new("mastodon-1")
    }
}
