//! Systems that somebody built as folders, one an application:
//!
//! ```text
//! <folder>/matrix/bin/switch-to-configuration
//! <folder>/matrix/manifest.json.tera      or manifest.json
//! <folder>/matrix/...
//! ```
//!
//! Files that end in `.tera` are filled in for the deployment (`domain`, `deployment`,
//! `email`, `settings`, `backup`) and lose that ending; all else is hard-linked. The result
//! is named by the digest of its content and copied to the guest with rsync, which
//! sends only what the guest's former system does not have.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, DriverErrorKind, Resolved, StepContext, SystemSource};
use fedi_guest::protocol::{SealSystem, StageSystem};
use fedi_guest::tree;
use fedi_model::inventory::Deployment;
use fedi_model::manifest::Manifest;
use fedi_model::resource::System;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::guest::{AgentSession, SshAccess, SshTarget};

/// Where prebuilt systems lie on a guest.
const ON_GUEST: &str = "/var/lib/fedi/systems";

/// Where their generations are kept.
const PROFILE: &str = "/var/lib/fedi/system-profiles";

const TEMPLATE: &str = ".tera";

/// Checking a copied system reads all of it.
const SEAL: Duration = Duration::from_secs(300);

/// A folder of prebuilt systems.
#[derive(Debug, Clone)]
pub struct PrebuiltSystems {
    folder: PathBuf,
    cache: PathBuf,
    email: Option<String>,
    ssh: SshAccess,
}

impl PrebuiltSystems {
    /// Systems out of `folder`, filled in under `cache` (best on the same file system),
    /// with the operator's mail address, copied with `ssh`.
    pub fn new(folder: PathBuf, cache: PathBuf, email: Option<String>, ssh: SshAccess) -> Self {
        Self { folder, cache, email, ssh }
    }

    fn make(&self, deployment: &Deployment) -> Result<Resolved, DriverError> {
        let app = deployment.app();
        let base = self.folder.join(app.as_str());
        let failed = |what: &str| {
            DriverError::new(DriverErrorKind::Invalid, format!("Failed to prepare the system of `{}`", deployment.name))
                .cause(what.to_owned())
        };
        if !base.join("bin/switch-to-configuration").exists() {
            return Err(failed(&format!("`{}` holds no system", base.display()))
                .hint("Is `app` right, and `system.folder` in host.toml?"));
        }
        let context = self.context(deployment)?;
        let key = key(&base, &context).map_err(|error| failed("Failed to read it").because(&error))?;
        let place = self.cache.join(&key);
        if !place.is_dir() {
            let staged = self.cache.join(format!(".staged-{key}-{}", std::process::id()));
            let filled = fill(&base, &staged, &context)
                .and_then(|()| {
                    let digest =
                        tree::digest(&staged.join("system")).map_err(|error| io::Error::other(error.to_string()))?;
                    fs::write(staged.join("digest"), digest)
                })
                .and_then(|()| match fs::rename(&staged, &place) {
                    Err(_) if place.is_dir() => fs::remove_dir_all(&staged),
                    other => other,
                });
            if let Err(error) = filled {
                let _ = fs::remove_dir_all(&staged);
                return Err(failed("Failed to fill it in").because(&error));
            }
        }
        let source = place.join("system");
        let read = |path: &Path| {
            fs::read(path).map_err(|error| failed(&format!("Failed to read `{}`", path.display())).because(&error))
        };
        let digest = String::from_utf8_lossy(&read(&place.join("digest"))?).into_owned();
        let manifest = Manifest::from_json(&read(&source.join("manifest.json"))?)
            .map_err(|error| failed("Its manifest cannot be used").because(&error))?;
        if !manifest.apps.contains_key(app) {
            return Err(failed(&format!("Its manifest does not declare `{app}`")));
        }
        Ok(Resolved { source: source.display().to_string(), toplevel: format!("{ON_GUEST}/{digest}"), manifest })
    }

    fn context(&self, deployment: &Deployment) -> Result<tera::Context, DriverError> {
        let file = serde_json::json!(deployment.file);
        let values = BTreeMap::from([
            ("deployment", serde_json::json!(deployment.name)),
            ("app", serde_json::json!(deployment.app())),
            ("domain", serde_json::json!(deployment.domain())),
            ("email", serde_json::json!(deployment.file.admin_email.as_ref().or(self.email.as_ref()))),
            ("settings", serde_json::json!(deployment.file.settings)),
            ("backup", file["backup"].clone()),
        ]);
        tera::Context::from_serialize(values)
            .map_err(|error| DriverError::new(DriverErrorKind::Failed, "Failed to prepare a system").because(&error))
    }
}

#[async_trait]
impl SystemSource for PrebuiltSystems {
    async fn resolve(&self, deployment: &Deployment) -> Result<Resolved, DriverError> {
        let (systems, deployment) = (self.clone(), deployment.clone());
        tokio::task::spawn_blocking(move || systems.make(&deployment)).await.unwrap_or_else(|error| {
            Err(DriverError::new(DriverErrorKind::Failed, "Preparing the system stopped half-way").because(&error))
        })
    }

    async fn transfer(&self, system: &System, host_key: &str, cx: &dyn StepContext) -> Result<(), DriverError> {
        let digest = system.toplevel.rsplit('/').next().unwrap_or_default().to_owned();
        let mut session = AgentSession::open(self.ssh.target(&system.guest, host_key).await?).await?;
        let staged = session.call(StageSystem { digest: digest.clone() }, SEAL, cx).await?;
        if staged.present {
            return Ok(());
        }
        let target = self.ssh.target(&system.guest, host_key).await?;
        copy(&target, Path::new(&system.source), &staged.staging, staged.base.as_deref(), cx).await?;
        session.call(SealSystem { digest }, SEAL, cx).await?;
        Ok(())
    }

    fn profile(&self) -> &str {
        PROFILE
    }
}

/// Names what a system is made of: the base by its builder's word (`digest`, written
/// last) or else by the size and time of every file, and what is filled in.
fn key(base: &Path, context: &tera::Context) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(base.canonicalize()?.as_os_str().as_encoded_bytes());
    for file in files(base)? {
        let found = fs::symlink_metadata(&file)?;
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(found.len().to_be_bytes());
        hash.update(found.mtime().to_be_bytes());
        hash.update(found.mtime_nsec().to_be_bytes());
        hash.update(found.mode().to_be_bytes());
    }
    hash.update(context.clone().into_json().to_string());
    Ok(hex::encode(&hash.finalize()[..16]))
}

/// Every file and link below `folder`, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn fill(base: &Path, staged: &Path, context: &tera::Context) -> io::Result<()> {
    if staged.exists() {
        fs::remove_dir_all(staged)?;
    }
    let base = base.canonicalize()?;
    let top = staged.join("system");
    fs::create_dir_all(staged)?;
    make_folders(&top, &top)?;
    for file in files(&base)? {
        let below = file.strip_prefix(&base).map_err(io::Error::other)?;
        let place = top.join(below);
        if let Some(parent) = place.parent() {
            make_folders(&top, parent)?;
        }
        let found = fs::symlink_metadata(&file)?;
        let name = place.to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(TEMPLATE) {
            let text = fs::read_to_string(&file)?;
            let filled = tera::Tera::one_off(&text, context, false)
                .map_err(|error| io::Error::other(format!("`{}`: {}", below.display(), tera_reason(&error))))?;
            fs::write(name, filled)?;
            fs::set_permissions(name, fs::Permissions::from_mode(found.mode() & 0o777))?;
        } else if found.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&file)?, &place)?;
        } else if fs::hard_link(&file, &place).is_err() {
            fs::copy(&file, &place)?;
        }
    }
    Ok(())
}

/// Makes `folder` and what is missing of it down from `top`, for everybody to read: the
/// users of the guest's services run from it, and nothing in it is secret.
fn make_folders(top: &Path, folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|above| above.starts_with(top) && !above.exists()).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Tera's own text says only that it failed; why is in the source.
fn tera_reason(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

async fn copy(
    target: &SshTarget,
    source: &Path,
    staging: &Path,
    base: Option<&Path>,
    cx: &dyn StepContext,
) -> Result<(), DriverError> {
    let failed = || {
        DriverError::new(
            DriverErrorKind::Unavailable,
            format!("Failed to copy the system to the guest `{}`", target.deployment()),
        )
    };
    let mut rsync = Command::new("rsync");
    rsync.args(["--recursive", "--links", "--perms", "--times", "--delete", "--info=progress2", "--no-inc-recursive"]);
    // Everybody on the guest may read a system, as in the Nix store, whatever the umask here was.
    rsync.arg("--chmod=Dgo=rx,Fgo+r,Fg-w,Fo-w");
    rsync.arg("--rsh").arg(target.remote_shell());
    if let Some(base) = base {
        rsync.arg("--link-dest").arg(base);
    }
    let mut from = source.as_os_str().to_owned();
    from.push("/");
    rsync.arg("--").arg(from).arg(format!("{}:{}/", target.destination(true), staging.display()));
    let mut child = rsync
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C is for fedi, which says what it stopped.
        .process_group(0)
        .spawn()
        .map_err(|error| failed().because(&error).hint("Install rsync"))?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else { return Err(failed()) };
    let mut complaint = String::new();
    let watch = async {
        let mut pieces = BufReader::new(stdout).split(b'\r');
        while let Ok(Some(piece)) = pieces.next_segment().await {
            if let Some(percent) = percent(&String::from_utf8_lossy(&piece)) {
                cx.progress("copying the system", Some(percent), Some(100));
            }
        }
    };
    let work = async {
        let ((), _, status) = tokio::join!(watch, stderr.read_to_string(&mut complaint), child.wait());
        status
    };
    let status = tokio::select! {
        status = work => status,
        () = cx.interrupted() => {
            return Err(DriverError::new(DriverErrorKind::Interrupted, "Stopped while copying the system"));
        }
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(255) => Err(target.failure(&complaint)),
        Ok(status) => {
            let mut error = failed().cause(format!("rsync ended with {status}"));
            error
                .causes
                .extend(complaint.lines().rev().take(5).map(str::to_owned).collect::<Vec<_>>().into_iter().rev());
            if complaint.contains("No space left") {
                error = error.hint("The guest's disk is full");
            }
            Err(error)
        }
        Err(error) => Err(failed().because(&error)),
    }
}

/// The percentage in a line of `--info=progress2`.
fn percent(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.strip_suffix('%')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedi_model::inventory::DeploymentFile;
    use fedi_model::name::{AppName, DeploymentName, Domain, HostName};

    fn deployment(domain: &str) -> Deployment {
        Deployment {
            name: DeploymentName::new("matrix").unwrap(),
            host: HostName::new("here").unwrap(),
            file: DeploymentFile {
                app: AppName::new("matrix").unwrap(),
                domain: Domain::new(domain).unwrap(),
                resources: fedi_model::inventory::Resources::default(),
                dns: fedi_model::inventory::DnsWishes::default(),
                backup: fedi_model::inventory::BackupWishes::default(),
                admin_email: None,
                settings: serde_json::Map::default(),
            },
            has_nix: false,
        }
    }

    fn systems(place: &Path) -> PrebuiltSystems {
        let base = place.join("systems/matrix/bin");
        fs::create_dir_all(&base).unwrap();
        fs::write(base.join("switch-to-configuration"), "#!/bin/sh\n").unwrap();
        let manifest = r#"{ "schema": 1, "apps": { "matrix": { "version": "1", "upgradesFrom": "1", "gate": "g.target",
            "endpoints": [ { "name": "api", "url": "https://{{ domain }}/" } ] } } }"#;
        fs::write(place.join("systems/matrix/manifest.json.tera"), manifest).unwrap();
        PrebuiltSystems::new(place.join("systems"), place.join("cache"), None, SshAccess::new(place.join("key")))
    }

    #[tokio::test]
    async fn is_filled_in_for_the_deployment() {
        let place = tempfile::tempdir().unwrap();
        let systems = systems(place.path());
        let one = systems.resolve(&deployment("one.example.org")).await.unwrap();
        let url = &one.manifest.apps.values().next().unwrap().endpoints[0].url;
        assert_eq!(url, "https://one.example.org/");
        assert!(one.toplevel.starts_with("/var/lib/fedi/systems/"));
        let mode = fs::metadata(Path::new(&one.source).join("bin")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "whoever runs fedi, the guest's users can read their system");
        let again = systems.resolve(&deployment("one.example.org")).await.unwrap();
        assert_eq!(again, one);
        let two = systems.resolve(&deployment("two.example.org")).await.unwrap();
        assert_ne!(two.toplevel, one.toplevel);
    }

    #[tokio::test]
    async fn an_unknown_application_and_a_bad_template_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let systems = systems(place.path());
        let mut other = deployment("one.example.org");
        other.file.app = AppName::new("nothing").unwrap();
        assert_eq!(systems.resolve(&other).await.unwrap_err().kind, DriverErrorKind::Invalid);
        fs::write(place.path().join("systems/matrix/x.tera"), "{{ nonsense }}").unwrap();
        let error = systems.resolve(&deployment("one.example.org")).await.unwrap_err();
        assert!(error.causes.iter().any(|cause| cause.contains("nonsense")), "{error:?}");
    }

    #[test]
    fn reads_rsyncs_percentage() {
        assert_eq!(percent("    123,456  42%   10.00MB/s    0:00:01"), Some(42));
        assert_eq!(percent("sending incremental file list"), None);
    }
}
