//! A flake and a store in a temporary folder. The tests of other crates borrow it.

#![allow(dead_code, reason = "not every user needs all of it")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix_compat::{Installable, Nix, NixError};

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    pub(crate) nix: Nix,
}

/// Says visibly that a test did not run.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        let line = format!("nix-compat {}: {why}\n", std::thread::current().name().unwrap_or("test"));
        let appended = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .and_then(|mut log| log.write_all(line.as_bytes()));
        appended.expect("write the skip log");
    }
}

impl Fixture {
    /// The inner error says why this machine cannot.
    pub(crate) async fn new(flake: &str) -> Result<Result<Self, String>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Err("building in a store of its own needs root".to_owned()));
        }
        let folder = tempfile::Builder::new().prefix("nix-compat-").tempdir()?;
        fs::create_dir(folder.path().join("flake"))?;
        fs::write(folder.path().join("flake/flake.nix"), flake)?;
        let nix = Nix::new()
            .with_store(format!("local?root={}", folder.path().join("root").display()))
            .with_environment("HOME", folder.path())
            .with_environment("TMPDIR", folder.path())
            .with_environment("XDG_CACHE_HOME", folder.path().join("cache"))
            .with_environment("NIX_CONF_DIR", folder.path())
            .with_environment("NIX_USER_CONF_FILES", folder.path().join("none"))
            .with_option("build-users-group", "")
            .with_option("substituters", "")
            .with_option("sandbox", "true")
            .with_option("sandbox-paths", sandbox_paths());
        match nix.version().await {
            Ok(version) => eprintln!("{version}"),
            Err(NixError::Missing { .. }) => return Ok(Err("`nix` is not installed (Debian: nix-bin)".to_owned())),
            Err(error) => return Err(error.into()),
        }
        Ok(Ok(Self { folder, nix }))
    }

    /// Binds another folder of this machine into Nix's sandbox.
    pub(crate) fn add_sandbox_path(&mut self, path: &str) {
        self.nix = self.nix.clone().with_option("sandbox-paths", format!("{} {path}", sandbox_paths()));
    }

    pub(crate) fn flake(&self) -> PathBuf {
        self.folder.path().join("flake")
    }

    pub(crate) fn attribute(&self, names: &[&str]) -> Result<Installable> {
        Ok(Installable::new(format!("path:{}", self.flake().display()), names)?)
    }

    pub(crate) fn store_has(&self, path: &str) -> bool {
        self.folder.path().join("root").join(path.trim_start_matches('/')).exists()
    }

    /// Waits until no process uses the store any more.
    pub(crate) async fn wait_until_idle(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while busy(self.folder.path()) {
            if Instant::now() > end {
                bail!("something still runs in {}", self.folder.path().display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Whether a process has the folder in its command line or its root.
fn busy(folder: &Path) -> bool {
    let text = folder.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())).any(
        |entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&text) || mounts.contains(&text)
        },
    )
}

/// `/bin/sh` and what it is linked to, bound into Nix's sandbox.
fn sandbox_paths() -> String {
    let libraries = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|path| Path::new(path).exists());
    let shell = fs::canonicalize("/bin/sh").unwrap_or_else(|_| PathBuf::from("/bin/sh"));
    std::iter::once(format!("/bin/sh={}", shell.display()))
        .chain(libraries.map(str::to_owned))
        .collect::<Vec<_>>()
        .join(" ")
}
