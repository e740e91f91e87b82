//! Changes to an inventory's files that keep the operator's comments and order. Every
//! change is checked before it is written, and a file is written whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fedi_model::inventory::{Deployment, DeploymentFile, FediFile, HostFile};
use fedi_model::manifest::Fence;
use fedi_model::name::{AppName, DeploymentName, Domain, HostName};
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::problem::Problems;
use crate::read::{self, InventoryFile, deployment_file, host_dir};
use crate::schema::FileKind;
use crate::suggest::list;
use crate::template::{self, NewHost, schema_line};
use crate::write;

/// Mode of files in an inventory: they hold no secrets.
const MODE: u32 = 0o644;

/// Why an inventory was not changed. It is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is one already.
    #[error("`{}` is there already", file.display())]
    Exists {
        /// The file, relative to the inventory.
        file: PathBuf,
    },
    /// There is none.
    #[error("`{}` is not there", file.display())]
    Missing {
        /// The file, relative to the inventory.
        file: PathBuf,
    },
    /// A host that has deployments.
    #[error("Host `{host}` still has {}", list(deployments.iter().map(DeploymentName::as_str)))]
    InUse {
        /// Which host.
        host: HostName,
        /// What lies under it.
        deployments: Vec<DeploymentName>,
    },
    /// The key leads through something that is no table.
    #[error("`{key}` cannot be set: `{part}` is no table")]
    NoTable {
        /// The key, whole.
        key: String,
        /// As far as it leads.
        part: String,
    },
    /// The file would be wrong afterwards.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Reading or writing failed.
    #[error("Failed to write `{}`", file.display())]
    Io {
        /// The file, relative to the inventory.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl EditError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { file } => Some(format!("Edit `{}`, or take another name", file.display())),
            Self::InUse { deployments, .. } => {
                let first = deployments.first()?;
                Some(format!("Run `fedi destroy {first}` first, or move its file to another host"))
            }
            Self::Missing { .. } | Self::NoTable { .. } | Self::Problems(_) | Self::Io { .. } => None,
        }
    }
}

/// Writes the file of a new deployment; returns its path. The name must be free on
/// every host. That the domain is free and in a zone is for the next load to tell.
pub fn add_deployment(
    root: &Path,
    host: &HostName,
    name: &DeploymentName,
    app: &AppName,
    domain: &Domain,
) -> Result<PathBuf, EditError> {
    if let Some(there) = find_deployment(root, name) {
        return Err(EditError::Exists { file: relative(root, &deployment_file(root, &there, name)) });
    }
    if !host_dir(root, host).join("host.toml").is_file() {
        return Err(EditError::Missing { file: relative(root, &host_dir(root, host).join("host.toml")) });
    }
    let path = deployment_file(root, host, name);
    let text = template::deployment(app, domain, &schema_line(root, &path, FileKind::Deployment));
    create::<DeploymentFile>(root, &path, &text)?;
    Ok(path)
}

/// Writes the file of a copy of `from`: what that one's file says, with another domain,
/// without a schedule for backups, and with the settings that fence it in. Returns its path.
pub fn add_clone(
    root: &Path,
    from: &Deployment,
    host: &HostName,
    name: &DeploymentName,
    domain: &Domain,
    fence: &Fence,
) -> Result<PathBuf, EditError> {
    if let Some(there) = find_deployment(root, name) {
        return Err(EditError::Exists { file: relative(root, &deployment_file(root, &there, name)) });
    }
    if !host_dir(root, host).join("host.toml").is_file() {
        return Err(EditError::Missing { file: relative(root, &host_dir(root, host).join("host.toml")) });
    }
    let (theirs, path) = (deployment_file(root, &from.host, &from.name), deployment_file(root, host, name));
    let io = |source| EditError::Io { file: relative(root, &theirs), source };
    let text = fs::read_to_string(&theirs).map_err(io)?;
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        refuse_bad::<DeploymentFile>(root, &theirs, &text)?;
        return Err(EditError::Missing { file: relative(root, &theirs) });
    };
    put(&mut document, "domain", Some(domain.as_str().into()))?;
    document.remove("backup");
    for key in &fence.unset {
        put(&mut document, &format!("settings.{key}"), None)?;
    }
    for (key, value) in &fence.set {
        put(&mut document, &format!("settings.{key}"), toml_value(value))?;
    }
    let text = template::clone_of(&from.name, &document.to_string());
    create::<DeploymentFile>(root, &path, &text)?;
    Ok(path)
}

/// A value of JSON in TOML; there is none for `null`, and a table is not a value to set.
fn toml_value(value: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match value {
        Json::Null | Json::Object(_) => return None,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(values) => Value::Array(values.iter().filter_map(toml_value).collect()),
    })
}

/// Writes `host.toml` of a new host; returns its path.
pub fn add_host(root: &Path, name: &HostName, host: &NewHost) -> Result<PathBuf, EditError> {
    let path = host_dir(root, name).join("host.toml");
    let text = template::host(host, &schema_line(root, &path, FileKind::Host));
    create::<HostFile>(root, &path, &text)?;
    Ok(path)
}

/// Sets a key of a deployment's file, or takes it out where `value` is `None`; `key` is
/// dotted: `resources.memory-mib`. Returns whether the file changed.
pub fn set_in_deployment(
    root: &Path,
    host: &HostName,
    name: &DeploymentName,
    key: &str,
    value: Option<Value>,
) -> Result<bool, EditError> {
    set::<DeploymentFile>(root, &deployment_file(root, host, name), key, value)
}

/// The same for a `host.toml`.
pub fn set_in_host(root: &Path, host: &HostName, key: &str, value: Option<Value>) -> Result<bool, EditError> {
    set::<HostFile>(root, &host_dir(root, host).join("host.toml"), key, value)
}

/// The same for `fedi.toml`.
pub fn set_in_fedi(root: &Path, key: &str, value: Option<Value>) -> Result<bool, EditError> {
    set::<FediFile>(root, &root.join(crate::ROOT_FILE), key, value)
}

/// Moves a deployment's file, and the `.nix` beside it, to another host. Stopped in the
/// middle nothing is lost: a `.nix` may be there twice, which the next load tells.
pub fn move_deployment(
    root: &Path,
    name: &DeploymentName,
    from: &HostName,
    to: &HostName,
) -> Result<PathBuf, EditError> {
    let (old, new) = (deployment_file(root, from, name), deployment_file(root, to, name));
    if !old.is_file() {
        return Err(EditError::Missing { file: relative(root, &old) });
    }
    if !host_dir(root, to).join("host.toml").is_file() {
        return Err(EditError::Missing { file: relative(root, &host_dir(root, to).join("host.toml")) });
    }
    if new.exists() {
        return Err(EditError::Exists { file: relative(root, &new) });
    }
    let io = |file: &Path| {
        let file = relative(root, file);
        move |source| EditError::Io { file, source }
    };
    if let Some(parent) = new.parent() {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    let (old_nix, new_nix) = (old.with_extension("nix"), new.with_extension("nix"));
    let nix = match fs::read(&old_nix) {
        Ok(nix) => Some(nix),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(&old_nix)(error)),
    };
    if let Some(nix) = &nix
        && fs::read(&new_nix).ok().as_ref() != Some(nix)
    {
        write::create(&new_nix, nix, MODE).map_err(exists_or_io(root, &new_nix))?;
    }
    fs::rename(&old, &new).map_err(io(&new))?;
    write::sync_parent(&new).map_err(io(&new))?;
    if nix.is_some() {
        fs::remove_file(&old_nix).map_err(io(&old_nix))?;
    }
    write::sync_parent(&old).map_err(io(&old))?;
    Ok(new)
}

/// Removes a deployment's file, and the `.nix` beside it. Removing what is not there
/// succeeds.
pub fn remove_deployment(root: &Path, host: &HostName, name: &DeploymentName) -> Result<(), EditError> {
    let path = deployment_file(root, host, name);
    for path in [path.clone(), path.with_extension("nix")] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(EditError::Io { file: relative(root, &path), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a host that has no deployments. Other files in its folder stay.
pub fn remove_host(root: &Path, host: &HostName) -> Result<(), EditError> {
    let (files, _) = read::read(root);
    let deployments = files.hosts.get(host).map_or(&[][..], |host| &host.deployments);
    if !deployments.is_empty() {
        let deployments = deployments.iter().map(|(name, ..)| name.clone()).collect();
        return Err(EditError::InUse { host: host.clone(), deployments });
    }
    let folder = host_dir(root, host);
    let file = folder.join("host.toml");
    fs::remove_file(&file).map_err(|source| EditError::Io { file: relative(root, &file), source })?;
    for folder in [folder.join("deployments"), folder] {
        match fs::remove_dir(&folder) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {}
            Err(source) => return Err(EditError::Io { file: relative(root, &folder), source }),
        }
    }
    Ok(())
}

/// The host that a deployment of that name lies under.
fn find_deployment(root: &Path, name: &DeploymentName) -> Option<HostName> {
    let hosts = fs::read_dir(root.join("hosts")).ok()?.flatten();
    let mut names = hosts.filter_map(|entry| HostName::new(entry.file_name().into_string().ok()?).ok());
    names.find(|host| deployment_file(root, host, name).exists())
}

fn create<T: InventoryFile>(root: &Path, path: &Path, text: &str) -> Result<(), EditError> {
    refuse_bad::<T>(root, path, text)?;
    if let Some(parent) = path.parent() {
        let failed = |source| EditError::Io { file: relative(root, parent), source };
        fs::create_dir_all(parent).map_err(failed)?;
    }
    write::create(path, text.as_bytes(), MODE).map_err(exists_or_io(root, path))
}

fn set<T: InventoryFile>(root: &Path, path: &Path, key: &str, value: Option<Value>) -> Result<bool, EditError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => EditError::Missing { file: relative(root, path) },
        _ => EditError::Io { file: relative(root, path), source },
    };
    let before = fs::read_to_string(path).map_err(io)?;
    let mut document: DocumentMut = match before.parse() {
        Ok(document) => document,
        // Whatever is wrong with it is told as on any load.
        Err(_) => return refuse_bad::<T>(root, path, &before).map(|()| false),
    };
    put(&mut document, key, value)?;
    let after = document.to_string();
    if after == before {
        return Ok(false);
    }
    refuse_bad::<T>(root, path, &after)?;
    write::replace(path, after.as_bytes()).map_err(io)?;
    Ok(true)
}

/// Puts a value at a dotted key, or takes it out. What stands around the old value (a
/// comment behind it) stays.
fn put(document: &mut DocumentMut, key: &str, value: Option<Value>) -> Result<(), EditError> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut table: &mut dyn toml_edit::TableLike = document.as_table_mut();
    let mut path = String::new();
    for part in parts {
        path = if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
        if value.is_none() && !table.contains_key(part) {
            return Ok(());
        }
        let item = table.entry(part).or_insert_with(|| Item::Table(Table::new()));
        let no_table = EditError::NoTable { key: key.to_owned(), part: path.clone() };
        table = item.as_table_like_mut().ok_or(no_table)?;
    }
    match value {
        None => {
            table.remove(last);
        }
        Some(mut value) => match table.get_mut(last) {
            Some(Item::Value(old)) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            _ => {
                table.insert(last, Item::Value(value));
            }
        },
    }
    Ok(())
}

/// Refuses a text that is no good file of its kind by itself.
fn refuse_bad<T: InventoryFile>(root: &Path, path: &Path, text: &str) -> Result<(), EditError> {
    let (_, problems) = read::parse::<T>(&relative(root, path), text.to_owned());
    Problems::check(problems)?;
    Ok(())
}

fn exists_or_io(root: &Path, path: &Path) -> impl FnOnce(io::Error) -> EditError {
    let file = relative(root, path);
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => EditError::Exists { file },
        _ => EditError::Io { file, source },
    }
}

fn relative(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}
