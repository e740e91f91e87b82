//! Makes a VM from an image, in one request.

use std::net::IpAddr;

use proxmox_schema::{Method, PropertyString, Upid};
use uuid::Uuid;

use super::device::{Disk, NetworkDevice};
use super::network::IpConfig;
use crate::request::{Parameters, Request, encode};

/// What a new VM shall be: a Linux guest with virtio devices, a serial console and the guest agent.
///
/// It has no tags on purpose: with them, a token that is limited to a pool fails from qemu-server 9.2 on, after the
/// whole import. Set them with [`super::Vm::set_config`].
#[derive(Clone, Debug, PartialEq)]
pub struct CreateVm {
    /// Also the guest's host name; a DNS name.
    pub name: String,
    /// At most 8,192 characters.
    pub description: Option<String>,
    /// A VM that is limited to a pool's rights must be made in it.
    pub pool: Option<String>,
    /// The SMBIOS UUID: the VM's identity, which outlives renames and comes back in its configuration.
    pub uuid: Option<Uuid>,
    /// As in `x86-64-v2-AES`; Proxmox's default is `kvm64`.
    pub cpu: Option<String>,
    pub cores: u32,
    pub memory_mib: u32,
    /// `scsi0`, `scsi1` and so on. The guest boots from the first.
    pub disks: Vec<Disk>,
    /// `net0`, `net1` and so on.
    pub networks: Vec<NetworkDevice>,
    pub cloud_init: Option<CloudInit>,
    /// Starts when its node starts.
    pub on_boot: bool,
    /// Cannot be destroyed until this is taken off.
    pub protection: bool,
    /// Is started once it is made; needs `VM.PowerMgmt`.
    pub start: bool,
    /// Anything else, by Proxmox's names; wins over what stands above.
    pub other: Vec<(String, String)>,
}

impl CreateVm {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            pool: None,
            uuid: None,
            cpu: None,
            cores: 1,
            memory_mib: 1024,
            disks: Vec::new(),
            networks: Vec::new(),
            cloud_init: None,
            on_boot: true,
            protection: false,
            start: false,
            other: Vec::new(),
        }
    }

    fn parameters(&self, vmid: u32) -> Parameters {
        let mut parameters = Parameters::new()
            .with("vmid", vmid)
            .with("name", self.name.as_str())
            .with("ostype", "l26")
            .with("cores", self.cores)
            .with("memory", self.memory_mib.to_string())
            .with("scsihw", "virtio-scsi-single")
            .with("serial0", "socket")
            .with("agent", "enabled=1")
            .with_some("description", self.description.as_deref())
            .with_some("pool", self.pool.as_deref())
            .with_some("smbios1", self.uuid.map(|uuid| format!("uuid={uuid}")))
            .with_some("cpu", self.cpu.as_deref())
            .with_flag("onboot", self.on_boot)
            .with_flag("protection", self.protection)
            .with_flag("start", self.start);
        for (number, disk) in self.disks.iter().enumerate() {
            parameters.set(&format!("scsi{number}"), PropertyString::from(disk).to_string());
        }
        if !self.disks.is_empty() {
            parameters.set("boot", "order=scsi0");
        }
        for (number, network) in self.networks.iter().enumerate() {
            parameters.set(&format!("net{number}"), PropertyString::from(network).to_string());
        }
        if let Some(cloud_init) = &self.cloud_init {
            cloud_init.add_to(&mut parameters);
        }
        for (name, value) in &self.other {
            parameters.set(name, value.as_str());
        }
        parameters
    }
}

/// What cloud-init tells the guest at its first boot.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudInit {
    /// The storage that the drive is made on, as `ide2`.
    pub storage: String,
    /// By network card.
    pub networks: Vec<IpConfig>,
    pub resolvers: Vec<IpAddr>,
    pub search_domain: Option<String>,
    pub user: Option<String>,
    /// In OpenSSH's form, one each.
    pub ssh_keys: Vec<String>,
    /// Brings packages up to date at first boot; Proxmox's default is yes, NixOS has none.
    pub upgrade: bool,
}

impl CloudInit {
    pub fn new(storage: impl Into<String>) -> Self {
        Self {
            storage: storage.into(),
            networks: Vec::new(),
            resolvers: Vec::new(),
            search_domain: None,
            user: None,
            ssh_keys: Vec::new(),
            upgrade: false,
        }
    }

    fn add_to(&self, parameters: &mut Parameters) {
        parameters.set("ide2", format!("{}:cloudinit", self.storage));
        parameters.set("ciupgrade", self.upgrade);
        for (number, network) in self.networks.iter().enumerate() {
            parameters.set(&format!("ipconfig{number}"), PropertyString::from(network).to_string());
        }
        if !self.resolvers.is_empty() {
            let resolvers: Vec<String> = self.resolvers.iter().map(ToString::to_string).collect();
            parameters.set("nameserver", resolvers.join(" "));
        }
        if let Some(domain) = &self.search_domain {
            parameters.set("searchdomain", domain.as_str());
        }
        if let Some(user) = &self.user {
            parameters.set("ciuser", user.as_str());
        }
        if !self.ssh_keys.is_empty() {
            let keys: Vec<&str> = self.ssh_keys.iter().map(|key| key.trim()).collect();
            // Proxmox wants this one percent-encoded inside of whatever carries it.
            parameters.set("sshkeys", encode(&keys.join("\n")));
        }
    }
}

/// `POST /nodes/{node}/qemu`
pub(super) struct Create<'a> {
    pub(super) node: &'a str,
    pub(super) vmid: u32,
    pub(super) vm: &'a CreateVm,
}

impl Request for Create<'_> {
    const METHOD: Method = Method::Post;
    type Answer = Upid;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned()]
    }

    fn parameters(&self) -> Parameters {
        self.vm.parameters(self.vmid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::DiskSource;
    use super::*;

    #[test]
    fn one_request_makes_a_whole_vm() {
        let mut vm = CreateVm::new("mastodon");
        vm.uuid = Some(Uuid::nil());
        vm.disks = vec![
            Disk::new("local-lvm", DiskSource::Image("local:import/a.qcow2".to_owned())),
            Disk::new("local-lvm", DiskSource::Blank { gib: 50 }),
        ];
        vm.networks = vec![NetworkDevice::new("vmbr0")];
        vm.cloud_init = Some(CloudInit {
            ssh_keys: vec!["ssh-ed25519 AA/A= a@b\n".to_owned(), "ssh-ed25519 BBB c".to_owned()],
            networks: vec![IpConfig::default()],
            resolvers: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ..CloudInit::new("local-lvm")
        });
        vm.start = true;
        let parameters = vm.parameters(9001);
        let text = |name: &str| parameters.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        assert_eq!(text("sshkeys"), "ssh-ed25519%20AA%2FA%3D%20a%40b%0Assh-ed25519%20BBB%20c");
        assert_eq!(text("smbios1"), "uuid=00000000-0000-0000-0000-000000000000");
        assert_eq!(text("nameserver"), "10.0.0.1 2001:db8::1");
        assert_eq!(text("scsi1"), "local-lvm:50,discard=on,iothread=1,ssd=1");
        assert_eq!(parameters.get("start"), Some(&1.into()));
        assert_eq!(parameters.get("ciupgrade"), Some(&0.into()));
        assert_eq!(parameters.get("tags"), None);
    }
}
