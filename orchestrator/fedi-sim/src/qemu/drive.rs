//! Disk options: `local-lvm:vm-100-disk-0,size=5G,ssd=1`.

use std::collections::BTreeMap;

use proxmox_schema::format::{format_size, parse_size};

use super::config::Config;
use crate::sim::Sim;

/// A disk option taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Drive {
    /// Volume id, path, `none`, `cdrom` or the syntax for a new disk.
    pub(crate) file: String,
    pub(crate) options: BTreeMap<String, String>,
}

/// The syntax for a new disk: storage (if named) and GiB.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewDisk {
    pub(crate) storage: Option<String>,
    pub(crate) gib: f64,
}

impl Drive {
    /// Reads a value that is stored already; unknown keys are kept.
    pub(crate) fn stored(value: &str) -> Self {
        let mut parts = value.split(',');
        let first = parts.next().unwrap_or_default();
        let file = first.strip_prefix("file=").unwrap_or(first).to_owned();
        let options = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Self { file, options }
    }

    /// Reads a value as given by a caller, through the option's schema.
    pub(crate) fn given(sim: &Sim, option: &str, value: &str) -> Option<Self> {
        let mut options = sim.option_format(option)?.parse(value, option).ok()?;
        let file = options.remove("file")?;
        Some(Self { file, options })
    }

    pub(crate) fn print(&self) -> String {
        self.options.iter().fold(self.file.clone(), |text, (key, value)| format!("{text},{key}={value}"))
    }

    pub(crate) fn new_disk(&self) -> Option<NewDisk> {
        let (storage, size) = match self.file.split_once(':') {
            Some((storage, size)) => (Some(storage), size),
            None => (None, self.file.as_str()),
        };
        let valid = storage.is_none_or(|storage| !storage.is_empty() && !storage.contains(['/', ' ']))
            && !size.is_empty()
            && size.starts_with(|c: char| c.is_ascii_digit())
            && size.ends_with(|c: char| c.is_ascii_digit())
            && size.chars().all(|c| c.is_ascii_digit() || c == '.');
        let gib = size.parse().ok().filter(|_| valid)?;
        Some(NewDisk { storage: storage.map(str::to_owned), gib })
    }

    pub(crate) fn size(&self) -> Option<u64> {
        self.options.get("size").and_then(|size| parse_size(size))
    }

    pub(crate) fn set_size(&mut self, bytes: u64) {
        self.options.insert("size".to_owned(), format_size(bytes));
    }

    pub(crate) fn is_cdrom(&self) -> bool {
        self.options.get("media").is_some_and(|media| media == "cdrom")
    }

    /// `storage:cloudinit`, or the volume made for it.
    pub(crate) fn is_cloudinit(&self) -> bool {
        let name = self.file.rsplit([':', '/']).next().unwrap_or_default();
        let stem = match name.rsplit_once('.') {
            Some((stem, "raw" | "qcow2" | "vmdk" | "qed" | "qcow" | "cow" | "cloop")) => stem,
            _ => name,
        };
        self.file.contains([':', '/'])
            && (stem == "cloudinit"
                || stem
                    .strip_prefix("vm-")
                    .and_then(|rest| rest.split_once('-'))
                    .is_some_and(|(vmid, rest)| rest == "cloudinit" && vmid.bytes().all(|byte| byte.is_ascii_digit())))
    }
}

/// All options that can hold a disk, in the order in which a boot disk is looked for.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let series = |name: &'static str, count: u8| (0..count).map(move |n| format!("{name}{n}"));
    series("ide", 4)
        .chain(series("scsi", 31))
        .chain(series("virtio", 16))
        .chain(series("sata", 6))
        .chain(["efidisk0".to_owned(), "tpmstate0".to_owned()])
}

/// Whether an option holds a disk.
pub(crate) fn is_drive(option: &str) -> bool {
    names().any(|name| name == option)
}

/// Index of a numbered option such as `net0`.
pub(crate) fn numbered(option: &str, prefix: &str) -> Option<u8> {
    let digits = option.strip_prefix(prefix)?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The disks of a configuration.
pub(crate) fn drives(config: &Config) -> Vec<(String, Drive)> {
    names().filter_map(|name| config.get(&name).map(|value| (name, Drive::stored(value)))).collect()
}

/// `order=` of the boot option.
pub(crate) fn boot_order(config: &Config) -> Vec<String> {
    let boot = config.get("boot").map(String::as_str).unwrap_or_default();
    let order = boot.split(',').find_map(|part| part.strip_prefix("order="));
    order.map(crate::call::split_list).unwrap_or_default()
}

/// Bytes of the disk that boots first.
pub(crate) fn boot_disk_size(config: &Config) -> Option<u64> {
    boot_order(config)
        .iter()
        .filter(|name| is_drive(name))
        .filter_map(|name| config.get(name))
        .map(|value| Drive::stored(value))
        .find(|drive| !drive.is_cdrom())
        .and_then(|drive| drive.size())
}

/// The devices a new VM boots from when nothing was said.
pub(crate) fn default_boot_devices(config: &Config) -> Vec<String> {
    let first = |cdrom: bool| {
        drives(config)
            .into_iter()
            .filter(|(name, _)| name != "efidisk0" && name != "tpmstate0")
            .find(|(_, drive)| drive.is_cdrom() == cdrom)
            .map(|(name, _)| name)
    };
    let net = (0..32).map(|n| format!("net{n}")).find(|name| config.contains_key(name));
    [first(false), first(true), net].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_disk_prints_as_it_was() {
        let text = "local:102/vm-102-disk-0.qcow2,discard=on,iothread=1,size=8M,ssd=1";
        let drive = Drive::stored(text);
        assert_eq!(drive.print(), text);
        assert_eq!(drive.size(), Some(8 << 20));
    }

    #[test]
    fn new_disks_are_told_from_volumes() {
        let new = |file: &str| Drive { file: file.to_owned(), ..Drive::default() }.new_disk();
        assert_eq!(new("local:5"), Some(NewDisk { storage: Some("local".to_owned()), gib: 5.0 }));
        assert_eq!(new("local:0.01").map(|disk| disk.gib), Some(0.01));
        assert!(new("local:-1").is_none() && new("local:100/vm-100-disk-0.raw").is_none());
    }

    #[test]
    fn cloud_init_drives_are_known_by_name() {
        let is = |file: &str| Drive { file: file.to_owned(), ..Drive::default() }.is_cloudinit();
        assert!(is("local:cloudinit") && is("local:102/vm-102-cloudinit.qcow2") && is("lvm:vm-102-cloudinit"));
        assert!(!is("local:102/vm-102-disk-0.qcow2") && !is("none"));
    }
}
