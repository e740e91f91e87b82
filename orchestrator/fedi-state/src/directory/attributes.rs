//! Owners, modes, times and extended attributes, between files and listings.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, futimens, utimensat,
};
use rustix::io::Errno;

use crate::account::Accounts;
use crate::error::StateError;
use crate::listing::{Entry, EntryKind, Name};

/// Times are set to these numbers after a restore.
pub(crate) fn mtime(stat: &Stat) -> String {
    format!("{}.{:09}", i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec))
}

pub(super) fn ctime(stat: &Stat) -> String {
    format!("{}.{:09}", i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec))
}

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Whether a file takes less room than it has bytes.
pub(super) fn has_holes(stat: &Stat) -> bool {
    i128::from(stat.st_blocks) * 512 < i128::from(stat.st_size)
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The entry of something, without what is particular to its kind.
pub(super) fn entry(accounts: &Accounts, path: &[u8], kind: EntryKind, stat: &Stat) -> Entry {
    Entry {
        path: Name(path.to_vec()),
        kind,
        mode: format!("{:04o}", stat.st_mode & 0o7777),
        owner: accounts.user_name(stat.st_uid),
        group: accounts.group_name(stat.st_gid),
        mtime: mtime(stat),
        xattrs: BTreeMap::new(),
        size: None,
        sha256: None,
        sparse: false,
        moving: false,
        target: None,
        same_as: None,
    }
}

/// Extended attributes of an open file or folder, but those that the system itself
/// sets for its security modules.
pub(super) fn xattrs(fd: BorrowedFd<'_>) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut names = vec![0_u8; 1024];
    let names = loop {
        match flistxattr(fd, &mut names) {
            Ok(length) => break names[..length].to_vec(),
            Err(Errno::RANGE) if names.len() < 1 << 20 => names.resize(names.len() * 4, 0),
            Err(Errno::NOTSUP) => return Ok(found),
            Err(error) => return Err(error.into()),
        }
    };
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let Ok(text) = std::str::from_utf8(name) else {
            return Err(io::Error::other("an extended attribute has a name that is not UTF-8"));
        };
        if text.starts_with("security.") && text != "security.capability" {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let length = fgetxattr(fd, CString::new(name)?, &mut value)?;
        found.insert(text.to_owned(), STANDARD.encode(&value[..length]));
    }
    Ok(found)
}

/// Who owns an entry on this machine.
pub(super) struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    pub(super) fn of(accounts: &Accounts, entry: &Entry) -> Result<Self, StateError> {
        let (uid, gid) = (accounts.user(&entry.owner)?.uid, accounts.group(&entry.group)?);
        Ok(Self { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
    }
}

/// Sets everything about an open file or folder. A stage that is not filled by
/// root keeps its own owner (`owner` is `None`); the listing knows the true one.
pub(super) fn apply(fd: impl AsFd, owner: Option<&Owner>, entry: &Entry) -> io::Result<()> {
    let fd = fd.as_fd();
    if let Some(owner) = owner {
        fchown(fd, Some(owner.uid), Some(owner.gid))?;
    }
    for (name, value) in &entry.xattrs {
        let value = STANDARD.decode(value).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match fsetxattr(fd, CString::new(name.as_str())?, &value, XattrFlags::empty()) {
            // Only root may set the others; the listing knows them.
            Err(Errno::PERM) if owner.is_none() && !name.starts_with("user.") => {}
            result => result?,
        }
    }
    fchmod(fd, mode(entry)?)?;
    Ok(futimens(fd, &times(entry)?)?)
}

/// Sets what a symbolic link has of its own: owner and time.
pub(super) fn apply_to_link(folder: impl AsFd, name: &[u8], owner: Option<&Owner>, entry: &Entry) -> io::Result<()> {
    if let Some(owner) = owner {
        chownat(&folder, name, Some(owner.uid), Some(owner.gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(utimensat(&folder, name, &times(entry)?, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn mode(entry: &Entry) -> io::Result<Mode> {
    let bits = u32::from_str_radix(&entry.mode, 8).ok().filter(|bits| *bits <= 0o7777);
    bits.map(Mode::from_raw_mode).ok_or_else(|| io::Error::other("the listing has a mode that is none"))
}

fn times(entry: &Entry) -> io::Result<Timestamps> {
    let wrong = || io::Error::other("the listing has a time that is none");
    let (seconds, nanos) = entry.mtime.split_once('.').ok_or_else(wrong)?;
    let last_modification =
        Timespec { tv_sec: seconds.parse().map_err(|_| wrong())?, tv_nsec: nanos.parse().map_err(|_| wrong())? };
    Ok(Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification })
}
