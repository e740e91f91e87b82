//! Disks and network cards, as property strings.

use proxmox_schema::PropertyString;

/// What a disk is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// A copy of this image, such as `local:import/a.qcow2`; as large as the disk inside it.
    Image(String),
    /// Empty, of this many GiB.
    Blank { gib: u32 },
}

/// A disk to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are Proxmox's own options")]
pub struct Disk {
    /// The storage that it is made on.
    pub storage: String,
    pub source: DiskSource,
    /// Blocks that the guest frees are freed on the storage.
    pub discard: bool,
    /// A thread of its own.
    pub io_thread: bool,
    /// Is shown to the guest as an SSD.
    pub ssd: bool,
    /// Is part of backups.
    pub backup: bool,
}

impl Disk {
    pub fn new(storage: impl Into<String>, source: DiskSource) -> Self {
        Self { storage: storage.into(), source, discard: true, io_thread: true, ssd: true, backup: true }
    }
}

impl From<&Disk> for PropertyString {
    fn from(disk: &Disk) -> Self {
        let storage = &disk.storage;
        let mut string = match &disk.source {
            // The size must be 0 where an image says it.
            DiskSource::Image(volume) => Self::bare(format!("{storage}:0")).with("import-from", volume),
            DiskSource::Blank { gib } => Self::bare(format!("{storage}:{gib}")),
        };
        if disk.discard {
            string.set("discard", "on");
        }
        if disk.io_thread {
            string.set("iothread", 1);
        }
        if disk.ssd {
            string.set("ssd", 1);
        }
        if !disk.backup {
            string.set("backup", 0);
        }
        string
    }
}

/// A virtio network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDevice {
    pub bridge: String,
    /// Proxmox draws one if there is none.
    pub mac: Option<String>,
    pub vlan: Option<u16>,
    pub firewall: bool,
}

impl NetworkDevice {
    pub fn new(bridge: impl Into<String>) -> Self {
        Self { bridge: bridge.into(), mac: None, vlan: None, firewall: false }
    }

    /// Reads a card as it stands in a configuration, of any model.
    pub fn parse(string: &PropertyString) -> Option<Self> {
        let mac = string.iter().map(|(_, value)| value).find(|value| value.matches(':').count() == 5);
        Some(Self {
            bridge: string.get("bridge")?.to_owned(),
            mac: mac.map(str::to_owned),
            vlan: string.get("tag").and_then(|tag| tag.parse().ok()),
            firewall: string.flag("firewall").unwrap_or(false),
        })
    }
}

impl From<&NetworkDevice> for PropertyString {
    fn from(device: &NetworkDevice) -> Self {
        let mut string = match &device.mac {
            Some(mac) => Self::new().with("virtio", mac),
            None => Self::bare("virtio"),
        };
        string.set("bridge", &device.bridge);
        if let Some(vlan) = device.vlan {
            string.set("tag", vlan);
        }
        if device.firewall {
            string.set("firewall", 1);
        }
        string
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn disks_are_written() {
        let image = Disk::new("local-lvm", DiskSource::Image("local:import/a.qcow2".to_owned()));
        let text = PropertyString::from(&image).to_string();
        assert_eq!(text, "local-lvm:0,import-from=local:import/a.qcow2,discard=on,iothread=1,ssd=1");
        let blank = Disk { ssd: false, backup: false, ..Disk::new("tiny", DiskSource::Blank { gib: 50 }) };
        assert_eq!(PropertyString::from(&blank).to_string(), "tiny:50,discard=on,iothread=1,backup=0");
    }

    proptest! {
        #[test]
        fn a_written_card_is_read_back(
            bridge in "vmbr[0-9]{1,4}",
            mac in proptest::option::of("BC:24:11(:[0-9A-F]{2}){3}"),
            vlan in proptest::option::of(1u16..4094),
            firewall: bool,
        ) {
            let device = NetworkDevice { bridge, mac, vlan, firewall };
            prop_assert_eq!(NetworkDevice::parse(&PropertyString::from(&device)), Some(device));
        }
    }
}
