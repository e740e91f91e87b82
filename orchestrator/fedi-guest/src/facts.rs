//! What is true of the guest, read from the kernel and its own files.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{StatVfsMountFlags, statvfs};
use sha2::{Digest, Sha256};

use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::{Facts, FactsRequest, Filesystem, ManifestFacts, Memory, OperatingSystem, SystemFacts};
use crate::system::Profile;
use crate::{lease, manifest, netlink, secrets, system};

/// File systems that hold data; all others are the kernel's own.
const DATA: [&str; 17] = [
    "9p", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "nfs", "nfs4", "ntfs3", "overlay", "vfat",
    "virtiofs", "xfs", "zfs", "ceph",
];

/// Everything at once.
pub(crate) fn gather(guest: &Guest, request: &FactsRequest) -> Result<Facts, GuestError> {
    let text = |path: &str| -> Result<String, GuestError> {
        Ok(file::read_text(&guest.path(path))?.unwrap_or_default().trim().to_owned())
    };
    Ok(Facts {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        uuid: guest.uuid()?,
        hostname: text("/proc/sys/kernel/hostname")?,
        boot_id: guest.boot_id()?,
        uptime_s: text("/proc/uptime")?.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0),
        time: Timestamp::now(),
        os: os_release(&text("/etc/os-release")?),
        addresses: netlink::addresses()?,
        filesystems: filesystems(guest)?,
        memory: memory(&text("/proc/meminfo")?),
        system: system_facts(guest, &Profile::chosen(guest, request.profile.as_deref())?)?,
        manifest: manifest_facts(guest)?,
        leases: lease::show(guest, None)?.leases,
        secrets: secrets::facts(guest)?,
        ssh_host_keys: ssh_host_keys(guest)?,
    })
}

fn system_facts(guest: &Guest, profile: &Profile) -> Result<SystemFacts, GuestError> {
    let current = profile.current(guest)?;
    Ok(SystemFacts {
        running: system::running(guest)?,
        profile: profile.folder().to_owned(),
        generation: current.as_ref().map(|current| current.0),
        generation_system: current.map(|current| current.1),
    })
}

fn manifest_facts(guest: &Guest) -> Result<ManifestFacts, GuestError> {
    let bytes = file::read(&guest.path(manifest::PATH))?;
    let sha256 = bytes.map(|bytes| format!("{:x}", Sha256::digest(&bytes)));
    Ok(ManifestFacts { present: sha256.is_some(), sha256 })
}

/// The public halves of sshd's keys: type and key, without the comment.
fn ssh_host_keys(guest: &Guest) -> Result<Vec<String>, GuestError> {
    let folder = guest.path("/etc/ssh");
    let mut keys = Vec::new();
    for name in file::names(&folder)? {
        if !(name.starts_with("ssh_host_") && name.ends_with("_key.pub")) {
            continue;
        }
        let Some(text) = file::read_text(&folder.join(name))? else { continue };
        let fields: Vec<&str> = text.split_whitespace().take(2).collect();
        keys.push(fields.join(" "));
    }
    Ok(keys)
}

/// Reads os-release(5).
fn os_release(text: &str) -> OperatingSystem {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    OperatingSystem { id: value("ID"), version: value("VERSION_ID"), name: value("PRETTY_NAME") }
}

/// Reads `/proc/meminfo`, proc(5).
fn memory(text: &str) -> Memory {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        kib * 1024
    };
    Memory {
        total: bytes("MemTotal"),
        available: bytes("MemAvailable"),
        swap_total: bytes("SwapTotal"),
        swap_free: bytes("SwapFree"),
    }
}

/// The mounted file systems that hold data, each once.
pub(crate) fn filesystems(guest: &Guest) -> Result<Vec<Filesystem>, GuestError> {
    let mounts = file::read_text(&guest.path("/proc/self/mountinfo"))?.unwrap_or_default();
    let mut found = Vec::new();
    for (mount, kind) in data_mounts(&mounts) {
        let path = guest.path(&mount);
        // A mount point can be gone or hidden by a later mount; a single file can be one.
        let (Ok(space), true) = (statvfs(&path), path.is_dir()) else { continue };
        found.push(Filesystem {
            mount,
            kind,
            bytes: space.f_blocks * space.f_frsize,
            bytes_available: space.f_bavail * space.f_frsize,
            inodes: space.f_files,
            inodes_available: space.f_favail,
            read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
        });
    }
    Ok(found)
}

/// Reads `/proc/self/mountinfo`, proc(5): mount point and kind of what holds
/// data. Of several mounts of one device the first counts.
fn data_mounts(text: &str) -> Vec<(PathBuf, String)> {
    let mut devices = Vec::new();
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = before.split(' ').collect();
        let (Some(device), Some(mount)) = (fields.get(2), fields.get(4)) else { continue };
        let kind = after.split(' ').next().unwrap_or_default();
        let mount = unescape(mount);
        if !(DATA.contains(&kind) || mount == Path::new("/")) || devices.contains(device) {
            continue;
        }
        devices.push(device);
        mounts.push((mount, kind.to_owned()));
    }
    mounts
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
fn unescape(text: &str) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) if bytes[at] == b'\\' => {
                plain.push(byte);
                at += 4;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn mounts_of_data_once_each() {
        let text = "\
22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:5 / /proc rw - proc proc rw
24 22 254:0 /nix/store /nix/store ro - ext4 /dev/vda rw
25 22 254:16 / /srv/my\\040data rw shared:3 - xfs /dev/vdb rw
26 22 0:30 / /run rw - tmpfs tmpfs rw
";
        let mounts = data_mounts(text);
        let expected = [(PathBuf::from("/"), "ext4".to_owned()), (PathBuf::from("/srv/my data"), "xfs".to_owned())];
        assert_eq!(mounts, expected);
    }

    #[test]
    fn os_release_with_and_without_quotes() {
        let os = os_release("PRETTY_NAME=\"NixOS 26.05 (Yarara)\"\nID=nixos\nVERSION_ID='26.05'\n");
        assert_eq!((os.id.as_str(), os.version.as_str(), os.name.as_str()), ("nixos", "26.05", "NixOS 26.05 (Yarara)"));
    }

    #[test]
    fn this_machine_has_facts() {
        let guest = Guest::this_machine();
        assert!(!guest.boot_id().unwrap().is_empty());
        assert!(filesystems(&guest).unwrap().iter().any(|filesystem| filesystem.mount == Path::new("/")));
        assert!(memory(&fs::read_to_string("/proc/meminfo").unwrap()).total > 0);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*") {
            data_mounts(&text);
            os_release(&text);
            memory(&text);
            unescape(&text);
        }
    }
}
