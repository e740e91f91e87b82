//! The secrets of applications on the guest: `/var/lib/fedi/secrets/<app>/<name>`.
//!
//! They come over the session's standard input only. An index beside them says
//! which version each file is, so that facts can be told without a value. The
//! order of a delivery (files, index, removals) leaves at worst a file that the
//! index calls changed, which the next delivery mends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fedi_model::{AppName, SecretName};
use rustix::fs::OFlags;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;
use crate::protocol::{ErrorKind, Secret, SecretDelivered, SecretFacts, SecretState, SecretValue, SecretsDeliver};

const FOLDER: &str = "/var/lib/fedi/secrets";
const INDEX: &str = ".index.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    schema: u32,
    secrets: BTreeMap<SecretName, Entry>,
}

/// What was delivered. The digest never leaves the guest and lies in a file that
/// is as private as the secret beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: u64,
    fingerprint: String,
    sha256: String,
    owner: String,
    group: String,
    mode: u32,
}

/// The secrets of one application as they lie on the guest.
struct Place {
    folder: PathBuf,
    users: Users,
}

/// Writes the listed secrets and removes all others of the application.
pub(crate) fn deliver(guest: &Guest, request: &SecretsDeliver) -> Result<SecretDelivered, GuestError> {
    let wanted = check(request)?;
    let users = Users::of(guest)?;
    let only_root = wanted.values().all(|(entry, _)| entry.owner == "root" && entry.group == "root");
    file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
    file::folder(&guest.path(FOLDER), 0o711)?;
    let _lock = file::lock(&guest.path(FOLDER).join(".lock"))?;
    let folder = guest.path(FOLDER).join(request.app.as_str());
    // A service that reads its own secret has to get through; nobody can list.
    file::folder(&folder, if only_root { 0o700 } else { 0o711 })?;
    let place = Place { folder, users };

    let before = place.index()?;
    let mut done = SecretDelivered::default();
    for (name, (entry, value)) in &wanted {
        let same = before.secrets.get(name) == Some(entry);
        let state = place.state(name, entry)?;
        let owner = place.users.resolve(entry);
        if same && state == SecretState::Intact {
            done.unchanged.push(name.clone());
            continue;
        }
        if same && state == SecretState::Held && owner.is_none() {
            done.held.push(name.clone());
            continue;
        }
        let access = match owner {
            Some(owner) => Access { mode: entry.mode, owner: Some(owner) },
            None => Access { mode: 0o400, owner: root() },
        };
        file::replace(&place.folder.join(name.as_str()), value.expose(), access)?;
        if owner.is_some() { &mut done.written } else { &mut done.held }.push(name.clone());
    }

    let index =
        Index { schema: 1, secrets: wanted.iter().map(|(name, (entry, _))| (name.clone(), entry.clone())).collect() };
    if before.schema != index.schema || before.secrets != index.secrets {
        place.write_index(&index)?;
    }
    for name in file::names(&place.folder)? {
        if name != INDEX && !index.secrets.keys().any(|kept| kept.as_str() == name) {
            file::remove(&place.folder.join(&name))?;
            done.removed.push(name);
        }
    }
    if !done.removed.is_empty() {
        file::sync_folder_of(&place.folder.join(INDEX))?;
    }
    Ok(done)
}

/// Gives secrets whose owner did not exist at delivery to that owner.
pub(crate) fn settle(guest: &Guest, app: &AppName) -> Result<SecretDelivered, GuestError> {
    let place = Place { folder: guest.path(FOLDER).join(app.as_str()), users: Users::of(guest)? };
    let mut done = SecretDelivered::default();
    for (name, entry) in &place.index()?.secrets {
        match place.state(name, entry)? {
            SecretState::Intact => done.unchanged.push(name.clone()),
            SecretState::Held => {
                let Some(owner) = place.users.resolve(entry) else {
                    done.held.push(name.clone());
                    continue;
                };
                let path = place.folder.join(name.as_str());
                let secret = open(&path).map_err(GuestError::file("open", &path))?;
                file::set_access(&secret, &path, Access { mode: entry.mode, owner: Some(owner) })?;
                secret.sync_all().map_err(GuestError::file("sync", &path))?;
                done.written.push(name.clone());
            }
            SecretState::Changed | SecretState::Missing => {
                let message = format!("Secret `{name}` of `{app}` is not what was delivered");
                return Err(GuestError::refused(ErrorKind::Damaged, message).with_hint("Deliver the secrets again"));
            }
        }
    }
    Ok(done)
}

/// As [`settle`], for every application; what could not be settled is told.
pub(crate) fn settle_all(guest: &Guest) -> Vec<GuestError> {
    let names = match file::names(&guest.path(FOLDER)) {
        Ok(names) => names,
        Err(error) => return vec![error],
    };
    let apps = names.into_iter().filter_map(|name| AppName::new(name).ok());
    apps.filter_map(|app| settle(guest, &app).err()).collect()
}

/// What is known of every delivered secret.
pub(crate) fn facts(guest: &Guest) -> Result<BTreeMap<AppName, BTreeMap<SecretName, SecretFacts>>, GuestError> {
    let mut all = BTreeMap::new();
    let users = Users::of(guest)?;
    for name in file::names(&guest.path(FOLDER))? {
        let Ok(app) = AppName::new(name) else { continue };
        let place = Place { folder: guest.path(FOLDER).join(app.as_str()), users: users.clone() };
        let mut secrets = BTreeMap::new();
        for (name, entry) in place.index()?.secrets {
            let state = place.state(&name, &entry)?;
            secrets.insert(name, SecretFacts { version: entry.version, fingerprint: entry.fingerprint, state });
        }
        all.insert(app, secrets);
    }
    Ok(all)
}

type Wanted<'a> = BTreeMap<SecretName, (Entry, &'a SecretValue)>;

fn check(request: &SecretsDeliver) -> Result<Wanted<'_>, GuestError> {
    let mut wanted = BTreeMap::new();
    for secret in &request.secrets {
        let Secret { name, version, fingerprint, value, owner, group, mode } = secret;
        let refuse = |why: &str| GuestError::refused(ErrorKind::Invalid, format!("Secret `{name}`: {why}"));
        if value.expose().len() > SecretValue::MAX {
            return Err(refuse(&format!("it is longer than {} bytes", SecretValue::MAX)));
        }
        let mode = u32::from_str_radix(mode, 8)
            .ok()
            .filter(|mode| mode & !0o770 == 0 && mode & 0o400 != 0)
            .ok_or_else(|| refuse("its mode must be octal, readable by the owner and closed to others: `0400`"))?;
        if [owner, group].iter().any(|who| who.is_empty() || who.contains([':', '\n'])) {
            return Err(refuse("its owner or group is no name"));
        }
        if fingerprint.len() > 256 || fingerprint.contains(char::is_control) {
            return Err(refuse("its fingerprint is no short text"));
        }
        let entry = Entry {
            version: *version,
            fingerprint: fingerprint.clone(),
            sha256: sha256(value.expose()),
            owner: owner.clone(),
            group: group.clone(),
            mode,
        };
        if wanted.insert(name.clone(), (entry, value)).is_some() {
            return Err(refuse("it is listed twice"));
        }
    }
    Ok(wanted)
}

impl Place {
    fn index(&self) -> Result<Index, GuestError> {
        let path = self.folder.join(INDEX);
        let Some(bytes) = file::read(&path)? else { return Ok(Index::default()) };
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| GuestError::Damaged { path: path.clone(), what: error.to_string() })?;
        if index.schema != 1 {
            return Err(GuestError::Damaged { path, what: format!("it is schema {}", index.schema) });
        }
        Ok(index)
    }

    fn write_index(&self, index: &Index) -> Result<(), GuestError> {
        let path = self.folder.join(INDEX);
        let bytes = serde_json::to_vec_pretty(index)
            .map_err(|error| GuestError::Damaged { path: path.clone(), what: error.to_string() })?;
        file::replace(&path, &bytes, Access::PRIVATE)
    }

    fn state(&self, name: &SecretName, entry: &Entry) -> Result<SecretState, GuestError> {
        let path = self.folder.join(name.as_str());
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(SecretState::Missing),
            // O_NOFOLLOW on a link.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Ok(SecretState::Changed);
            }
            Err(error) => return Err(GuestError::file("open", &path)(error)),
        };
        let found = file.metadata().map_err(GuestError::file("look at", &path))?;
        if !found.is_file() || found.len() > SecretValue::MAX as u64 || digest_of(file, &path)? != entry.sha256 {
            return Ok(SecretState::Changed);
        }
        let mode = found.mode() & 0o7777;
        let owned_by = |(uid, gid): (Uid, Gid)| found.uid() == uid.as_raw() && found.gid() == gid.as_raw();
        if self.users.resolve(entry).is_some_and(owned_by) && mode == entry.mode {
            Ok(SecretState::Intact)
        } else if root().is_none_or(owned_by) && mode == 0o400 {
            Ok(SecretState::Held)
        } else {
            Ok(SecretState::Changed)
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    fs::OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or(0)).open(path)
}

fn digest_of(file: File, path: &Path) -> Result<String, GuestError> {
    use std::io::Read;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(SecretValue::MAX as u64 + 1).read_to_end(&mut bytes).map_err(GuestError::file("read", path))?;
    Ok(sha256(&bytes))
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The users and groups of the guest, from its own files: a static program has
/// no name service.
#[derive(Debug, Clone)]
struct Users {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Users {
    fn of(guest: &Guest) -> Result<Self, GuestError> {
        let table = |path: &str| -> Result<BTreeMap<String, u32>, GuestError> {
            let text = file::read_text(&guest.path(path))?.unwrap_or_default();
            // passwd(5) and group(5): name, password, id.
            let ids = text.lines().filter_map(|line| {
                let mut fields = line.split(':');
                Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
            });
            Ok(ids.collect())
        };
        Ok(Self { users: table("/etc/passwd")?, groups: table("/etc/group")? })
    }

    fn resolve(&self, entry: &Entry) -> Option<(Uid, Gid)> {
        let uid = if entry.owner == "root" { 0 } else { *self.users.get(&entry.owner)? };
        let gid = if entry.group == "root" { 0 } else { *self.groups.get(&entry.group)? };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }
}

/// Root, or `None` where the agent is not root and cannot give files away (tests).
fn root() -> Option<(Uid, Gid)> {
    rustix::process::geteuid().is_root().then_some((Uid::ROOT, Gid::ROOT))
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
