//! Secrets as files encrypted with age (<https://age-encryption.org/v1>).
//!
//! A folder a secret: `<deployment>/<app>/<name>/`. In it `v1.age`, `v2.age`, ...
//! each readable with plain `age --decrypt`, and `meta.json` with what is no secret.
//! A version is put in place by a hard link, which fails where one stands already:
//! that is the compare-and-set, over processes and machines that share the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::x25519;
use async_trait::async_trait;
use fedi_engine::drivers::{
    DriverError, DriverErrorKind, Seal, SecretEntry, SecretKey, SecretStore, SecretValue, SecretVersion,
};
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::name::{AppName, DeploymentName, SecretName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What is kept beside the encrypted versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Meta {
    schema: u32,
    class: SecretClass,
    generator: Generator,
    /// When each version was stored. May run one ahead of the files.
    versions: BTreeMap<SecretVersion, Timestamp>,
}

const META_SCHEMA: u32 = 1;

/// A folder of age files.
#[derive(Debug, Clone)]
pub struct AgeStore {
    folder: PathBuf,
    identity: PathBuf,
    recipients: Vec<String>,
}

impl AgeStore {
    /// A store in `folder`, decrypted with the age identity file `identity`, encrypted to
    /// it and to `recipients` (`age1...`). Touches nothing yet.
    pub fn new(folder: PathBuf, identity: PathBuf, recipients: Vec<String>) -> Self {
        Self { folder, identity, recipients }
    }

    fn path(&self, key: &SecretKey) -> PathBuf {
        self.folder.join(key.deployment.as_str()).join(key.app.as_str()).join(key.name.as_str())
    }

    /// The identities in the key file. Their text is wiped from memory.
    fn identities(&self) -> Result<Vec<x25519::Identity>, DriverError> {
        let failed = || {
            DriverError::new(
                DriverErrorKind::Denied,
                format!("Failed to read the age identity `{}`", self.identity.display()),
            )
        };
        let damaged = || failed().hint("Put a good copy of the key in its place: nothing else can read the secrets");
        let metadata = fs::metadata(&self.identity).map_err(|error| {
            failed().because(&error).hint("Run `fedi init` to make one, or set `secrets.identity` in fedi.toml")
        })?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(failed()
                .cause("Others can read it")
                .hint(format!("Run `chmod 600 {}`", self.identity.display())));
        }
        let text = Zeroizing::new(fs::read_to_string(&self.identity).map_err(|error| failed().because(&error))?);
        let mut identities = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let identity = x25519::Identity::from_str(line)
                .map_err(|reason| damaged().cause(format!("A line is no age identity: {reason}")))?;
            identities.push(identity);
        }
        if identities.is_empty() {
            return Err(damaged().cause("It holds no `AGE-SECRET-KEY-1...` line"));
        }
        Ok(identities)
    }

    fn encrypted_to(&self) -> Result<Vec<x25519::Recipient>, DriverError> {
        let mut recipients: Vec<x25519::Recipient> =
            self.identities()?.iter().map(x25519::Identity::to_public).collect();
        for text in &self.recipients {
            let recipient = x25519::Recipient::from_str(text).map_err(|reason| {
                DriverError::new(DriverErrorKind::Invalid, format!("Failed to use the age recipient `{text}`"))
                    .cause(reason)
                    .hint("A recipient begins with `age1`; see `secrets.recipients` in fedi.toml")
            })?;
            recipients.push(recipient);
        }
        Ok(recipients)
    }

    fn meta(&self, key: &SecretKey) -> Result<Option<Meta>, DriverError> {
        let path = self.path(key).join("meta.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path, &error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            DriverError::new(DriverErrorKind::Invalid, format!("Failed to read `{}`", path.display())).because(&error)
        })
    }

    /// The newest version whose file is there.
    fn newest(&self, key: &SecretKey) -> Result<SecretVersion, DriverError> {
        let path = self.path(key);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(io_error("list", &path, &error)),
        };
        let mut newest = 0;
        for entry in entries {
            let name = entry.map_err(|error| io_error("list", &path, &error))?.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix('v')?.strip_suffix(".age")?.parse().ok());
            newest = newest.max(version.unwrap_or(0));
        }
        Ok(newest)
    }

    fn read(&self, key: &SecretKey) -> Result<Option<(SecretValue, SecretVersion)>, DriverError> {
        let version = self.newest(key)?;
        if version == 0 {
            return Ok(None);
        }
        let path = self.path(key).join(format!("v{version}.age"));
        let failed = || DriverError::new(DriverErrorKind::Denied, format!("Failed to decrypt `{}`", path.display()));
        let file = fs::File::open(&path).map_err(|error| io_error("open", &path, &error))?;
        Ok(Some((self.decrypt(io::BufReader::new(file), failed)?, version)))
    }

    fn decrypt(&self, cipher: impl io::BufRead, failed: impl Fn() -> DriverError) -> Result<SecretValue, DriverError> {
        let identities = self.identities()?;
        let decryptor = age::Decryptor::new_buffered(cipher).map_err(|error| failed().because(&error))?;
        let mut reader =
            decryptor.decrypt(identities.iter().map(|identity| identity as &dyn age::Identity)).map_err(|error| {
                failed().because(&error).hint(format!("Is it encrypted to the key in `{}`?", self.identity.display()))
            })?;
        let mut plain = Vec::new();
        if let Err(error) = reader.read_to_end(&mut plain) {
            drop(SecretValue::new(plain));
            return Err(failed().because(&error));
        }
        Ok(SecretValue::new(plain))
    }

    fn write(
        &self,
        key: &SecretKey,
        class: SecretClass,
        generator: &Generator,
        value: &SecretValue,
        expected: SecretVersion,
    ) -> Result<SecretVersion, DriverError> {
        let found = self.newest(key)?;
        if found != expected {
            return Err(changed(key, expected, found));
        }
        let version = expected + 1;
        let folder = self.path(key);
        make_folder(&folder)?;
        let failed = || DriverError::new(DriverErrorKind::Failed, format!("Failed to encrypt the secret `{key}`"));
        let cipher = self.encrypt(value, failed)?;
        let mut versions = self.meta(key)?.map(|meta| meta.versions).unwrap_or_default();
        versions.insert(version, Timestamp::now());
        let meta = Meta { schema: META_SCHEMA, class, generator: generator.clone(), versions };
        let text = serde_json::to_vec_pretty(&meta).map_err(|error| {
            DriverError::new(DriverErrorKind::Failed, format!("Failed to store the secret `{key}`")).because(&error)
        })?;
        let staged_meta = stage(&folder, &text)?;
        staged_meta
            .persist(folder.join("meta.json"))
            .map_err(|error| io_error("write", &folder.join("meta.json"), &error.error))?;
        let path = folder.join(format!("v{version}.age"));
        let staged = stage(&folder, &cipher)?;
        match staged.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(changed(key, expected, version));
            }
            Err(error) => return Err(io_error("write", &path, &error.error)),
        }
        sync_folder(&folder)?;
        Ok(version)
    }

    fn encrypt(&self, value: &SecretValue, failed: impl Fn() -> DriverError) -> Result<Vec<u8>, DriverError> {
        let recipients = self.encrypted_to()?;
        let encryptor =
            age::Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as &dyn age::Recipient))
                .map_err(|error| failed().because(&error))?;
        let mut cipher = Vec::new();
        let mut writer = encryptor.wrap_output(&mut cipher).map_err(|error| failed().because(&error))?;
        writer.write_all(value.expose()).map_err(|error| failed().because(&error))?;
        writer.finish().map_err(|error| failed().because(&error))?;
        Ok(cipher)
    }

    fn remove(&self, key: &SecretKey) -> Result<(), DriverError> {
        let path = self.path(key);
        if !path.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&path).map_err(|error| io_error("delete", &path, &error))?;
        // Folders that are empty now would look like deployments without secrets.
        for parent in path.ancestors().skip(1).take(2) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn entry_of(&self, key: &SecretKey) -> Result<Option<SecretEntry>, DriverError> {
        let version = self.newest(key)?;
        let Some(meta) = self.meta(key)?.filter(|_| version > 0) else { return Ok(None) };
        let at = meta.versions.get(&version).copied().unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Some(SecretEntry { key: key.clone(), class: meta.class, generator: meta.generator, version, at }))
    }

    fn entries(&self, only: Option<&DeploymentName>) -> Result<Vec<SecretEntry>, DriverError> {
        let mut found = Vec::new();
        for deployment in names::<DeploymentName>(&self.folder)? {
            if only.is_some_and(|only| *only != deployment) {
                continue;
            }
            let folder = self.folder.join(deployment.as_str());
            for app in names::<AppName>(&folder)? {
                for name in names::<SecretName>(&folder.join(app.as_str()))? {
                    let key = SecretKey { deployment: deployment.clone(), app: app.clone(), name };
                    found.extend(self.entry_of(&key)?);
                }
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

#[async_trait]
impl SecretStore for AgeStore {
    async fn get(&self, key: &SecretKey) -> Result<Option<(SecretValue, SecretVersion)>, DriverError> {
        let (store, key) = (self.clone(), key.clone());
        blocking(move || store.read(&key)).await
    }

    async fn entry(&self, key: &SecretKey) -> Result<Option<SecretEntry>, DriverError> {
        self.entry_of(key)
    }

    async fn put(
        &self,
        key: &SecretKey,
        class: SecretClass,
        generator: &Generator,
        value: &SecretValue,
        expected: SecretVersion,
    ) -> Result<SecretVersion, DriverError> {
        let (store, key, generator, value) = (self.clone(), key.clone(), generator.clone(), value.clone());
        blocking(move || store.write(&key, class, &generator, &value, expected)).await
    }

    async fn list(&self, deployment: Option<&DeploymentName>) -> Result<Vec<SecretEntry>, DriverError> {
        let (store, deployment) = (self.clone(), deployment.cloned());
        blocking(move || store.entries(deployment.as_ref())).await
    }

    async fn delete(&self, key: &SecretKey) -> Result<(), DriverError> {
        let (store, key) = (self.clone(), key.clone());
        blocking(move || store.remove(&key)).await
    }

    async fn check(&self) -> Result<(), DriverError> {
        self.encrypted_to().map(|_| ())
    }
}

#[async_trait]
impl Seal for AgeStore {
    async fn seal(&self, plain: &SecretValue) -> Result<Vec<u8>, DriverError> {
        let failed = || DriverError::new(DriverErrorKind::Failed, "Failed to seal the secrets of a snapshot");
        self.encrypt(plain, failed)
    }

    async fn open(&self, sealed: &[u8]) -> Result<SecretValue, DriverError> {
        let failed = || DriverError::new(DriverErrorKind::Denied, "Failed to open the secrets of a snapshot");
        self.decrypt(sealed, failed)
    }

    async fn recipients(&self) -> Result<usize, DriverError> {
        let all: BTreeSet<String> = self.encrypted_to()?.iter().map(ToString::to_string).collect();
        Ok(all.len())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(DriverError::new(DriverErrorKind::Failed, "The secret store stopped half-way").because(&error))
    })
}

/// The folders in `folder` whose names are names of this kind.
fn names<T: FromStr>(folder: &Path) -> Result<Vec<T>, DriverError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list", folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_error("list", folder, &error))?;
        if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push(name);
        }
    }
    Ok(found)
}

fn make_folder(path: &Path) -> Result<(), DriverError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| io_error("make the folder", path, &error))
}

/// A finished, synced file of mode 0600 that still waits for its name.
fn stage(folder: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, DriverError> {
    let write = || -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new()
            .prefix(".staged-")
            .make_in(folder, |path| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))?
            .into_parts();
        file.0.write_all(bytes)?;
        file.0.sync_all()?;
        Ok(tempfile::NamedTempFile::from_parts(file.0, file.1))
    };
    write().map_err(|error| io_error("write in", folder, &error))
}

fn sync_folder(path: &Path) -> Result<(), DriverError> {
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| io_error("sync", path, &error))
}

fn io_error(verb: &str, path: &Path, error: &io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => DriverErrorKind::Denied,
        io::ErrorKind::StorageFull => DriverErrorKind::Unavailable,
        _ => DriverErrorKind::Failed,
    };
    DriverError::new(kind, format!("Failed to {verb} `{}`", path.display())).because(error)
}

fn changed(key: &SecretKey, expected: SecretVersion, found: SecretVersion) -> DriverError {
    DriverError::new(DriverErrorKind::Drift, format!("Failed to store the secret `{key}`"))
        .cause(format!("The store has version {found}, expected {expected}"))
        .hint("Somebody else changed it; look at it with `fedi secret show` and try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret;

    fn store(folder: &Path) -> AgeStore {
        let identity = x25519::Identity::generate();
        let path = folder.join("age.key");
        fs::write(&path, identity.to_string().expose_secret()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        AgeStore::new(folder.join("secrets"), path, Vec::new())
    }

    fn key(name: &str) -> SecretKey {
        SecretKey {
            deployment: DeploymentName::new("matrix").unwrap(),
            app: AppName::new("matrix").unwrap(),
            name: SecretName::new(name).unwrap(),
        }
    }

    async fn put(store: &AgeStore, name: &str, text: &str, expected: u32) -> Result<u32, DriverError> {
        let value = SecretValue::new(text.as_bytes().to_vec());
        store.put(&key(name), SecretClass::Session, &Generator::Hex { bytes: 4 }, &value, expected).await
    }

    #[tokio::test]
    async fn versions_and_compare_and_set() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        assert!(store.get(&key("a")).await.unwrap().is_none());
        assert_eq!(put(&store, "a", "one", 0).await.unwrap(), 1);
        assert_eq!(put(&store, "a", "one", 0).await.unwrap_err().kind, DriverErrorKind::Drift);
        assert_eq!(put(&store, "a", "two", 1).await.unwrap(), 2);
        let (value, version) = store.get(&key("a")).await.unwrap().unwrap();
        assert_eq!((value.expose(), version), (&b"two"[..], 2));
        assert_eq!(store.list(None).await.unwrap().len(), 1);
        store.delete(&key("a")).await.unwrap();
        store.delete(&key("a")).await.unwrap();
        assert!(store.list(None).await.unwrap().is_empty());
        assert!(!folder.path().join("secrets/matrix").exists());
    }

    #[tokio::test]
    async fn only_one_of_two_writers_wins() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let writers = (0..8).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, "raced", &n.to_string(), 0).await })
        });
        let mut won = 0;
        for writer in futures::future::join_all(writers).await {
            won += usize::from(writer.unwrap().is_ok());
        }
        assert_eq!(won, 1);
    }

    #[tokio::test]
    async fn files_are_the_owners_only_and_hold_no_plain_text() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        put(&store, "a", "plain-text", 0).await.unwrap();
        let path = folder.path().join("secrets/matrix/matrix/a/v1.age");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!fs::read(&path).unwrap().windows(10).any(|window| window == b"plain-text"));
    }

    #[tokio::test]
    async fn a_wrong_or_open_identity_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mine = store(folder.path());
        put(&mine, "a", "one", 0).await.unwrap();
        let identity = folder.path().join("age.key");
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).unwrap();
        let error = mine.get(&key("a")).await.unwrap_err();
        assert!(error.hint.unwrap().contains("chmod 600"));
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&identity, x25519::Identity::generate().to_string().expose_secret()).unwrap();
        assert_eq!(mine.get(&key("a")).await.unwrap_err().kind, DriverErrorKind::Denied);
        fs::write(&identity, "nonsense").unwrap();
        assert!(mine.check().await.is_err());
        fs::remove_file(&identity).unwrap();
        assert!(mine.check().await.unwrap_err().hint.unwrap().contains("fedi init"));
    }

    #[tokio::test]
    async fn a_second_recipient_can_read_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let mine = store(folder.path());
        let other = x25519::Identity::generate();
        let mine = AgeStore { recipients: vec![other.to_public().to_string()], ..mine };
        put(&mine, "a", "one", 0).await.unwrap();
        let path = folder.path().join("other.key");
        fs::write(&path, other.to_string().expose_secret()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let theirs = AgeStore { identity: path, ..mine };
        assert_eq!(theirs.get(&key("a")).await.unwrap().unwrap().0.expose(), b"one");
    }
}
