//! What a process of its own does with `fedi-state`. Between processes, what was
//! observed is kept beside the stage.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use fedi_model::SecretName;
use fedi_model::manifest;
use fedi_state::bucket::{Bucket, End};
use fedi_state::directory::Directory;
use fedi_state::postgres::{Access, Postgres};
use fedi_state::repository::{Password, Repository};
use fedi_state::{Account, Accounts, Consistency, Kind, Observed, Snapshot, Stage, Tools, Work};
use serde::{Deserialize, Serialize};

/// One operation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum StateTask {
    /// From its place into a stage.
    Capture { what: What, stage: PathBuf },
    /// From a stage to its place.
    Restore { what: What, stage: PathBuf },
    /// From one bucket straight into another.
    Mirror { from: S3, to: S3, memory: PathBuf },
    /// Folders into a repository, as a guest does it; the snapshot's item `N` is the
    /// folder of that number. What is known of them afterwards lies beside the repository.
    Backup { folders: Vec<PathBuf>, stage: PathBuf, repository: PathBuf },
    /// The newest snapshot from a repository into a stage, to restore its item `0` from.
    Fetch { stage: PathBuf, repository: PathBuf },
}

/// Of which kind, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum What {
    /// The folder.
    Directory(PathBuf),
    /// The database on the server with this socket folder and these programs.
    Postgres { socket: PathBuf, bin: PathBuf, database: String },
    /// The bucket.
    Bucket(S3),
}

/// A bucket with its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl StateTask {
    /// In words.
    pub(crate) fn name(&self) -> String {
        let kind = |what: &What| match what {
            What::Directory(_) => "a folder",
            What::Postgres { .. } => "a database",
            What::Bucket(_) => "a bucket",
        };
        match self {
            Self::Capture { what, .. } => format!("capture of {}", kind(what)),
            Self::Restore { what, .. } => format!("restore of {}", kind(what)),
            Self::Mirror { .. } => "copy between buckets".to_owned(),
            Self::Backup { .. } => "backup into a repository".to_owned(),
            Self::Fetch { .. } => "fetching a snapshot".to_owned(),
        }
    }

    /// Does it; seconds.
    pub(crate) fn carry_out(self) -> Result<f64> {
        match self {
            Self::Capture { what, stage } => {
                let (kind, work) = what.open()?;
                let item = Stage::begin(&stage)?.item_to_fill("item")?;
                let begun = Instant::now();
                let observed = kind.capture(&work, &item, Consistency::Quiesced)?;
                let seconds = begun.elapsed().as_secs_f64();
                fs::write(beside(&stage), serde_json::to_vec(&observed)?)?;
                Ok(seconds)
            }
            Self::Restore { what, stage } => {
                let name = if matches!(what, What::Directory(_)) { "0" } else { "item" };
                let (kind, work) = what.open()?;
                let item = Stage::open(&stage).item(name)?;
                let observed: Observed = serde_json::from_slice(&fs::read(beside(&stage))?)?;
                let begun = Instant::now();
                kind.restore(&work, &item, &observed)?;
                Ok(begun.elapsed().as_secs_f64())
            }
            Self::Mirror { from, to, memory } => {
                let (from, to) = (from.bucket()?, to.end()?);
                let begun = Instant::now();
                from.mirror(&Work::default(), &to, &memory, true)?;
                Ok(begun.elapsed().as_secs_f64())
            }
            Self::Backup { folders, stage, repository } => backup(&folders, &stage, &repository),
            Self::Fetch { stage, repository } => fetch(&stage, &repository),
        }
    }
}

/// Where it is kept what was observed.
fn beside(stage: &Path) -> PathBuf {
    stage.with_extension("observed.json")
}

impl What {
    fn open(self) -> Result<(Box<dyn Kind>, Work)> {
        let mut work = Work::default();
        let kind: Box<dyn Kind> = match self {
            Self::Directory(path) => Box::new(directory(&path)?),
            Self::Bucket(bucket) => Box::new(bucket.bucket()?),
            Self::Postgres { socket, bin, database } => {
                work.tools = Tools { folders: vec![bin] };
                // As the baseline has it.
                work.jobs = 2;
                let declared = manifest::Postgres {
                    database,
                    owner: "postgres".to_owned(),
                    major: 1,
                    encoding: "UTF8".to_owned(),
                    locale: None,
                    extensions: Vec::new(),
                    skip_rows: Vec::new(),
                };
                let (host, user) = (socket.display().to_string(), "postgres".to_owned());
                let run_as = Some(server_account()?);
                Box::new(Postgres::new(declared, Access { host, port: 5432, user, run_as, passfile: None }))
            }
        };
        Ok((kind, work))
    }
}

/// The user that servers run as: the package's where we are root, else ourselves.
pub(crate) fn server_account() -> Result<Account> {
    if rustix::process::geteuid().is_root() {
        return Ok(Accounts::load()?.user("postgres")?);
    }
    Ok(Account { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() })
}

fn directory(path: &Path) -> Result<Directory> {
    let accounts = Accounts::load()?;
    let owner = accounts.user_name(rustix::process::geteuid().as_raw());
    let declared = manifest::Directory {
        path: path.display().to_string(),
        owner,
        group: None,
        exclude: Vec::new(),
        at_least_files: 0,
        at_least_bytes: 0,
    };
    Ok(Directory::new(declared, accounts)?)
}

impl S3 {
    fn end(&self) -> Result<End> {
        Ok(End::new(&self.endpoint, "garage", &self.bucket, &self.key, &self.secret.clone().into())?)
    }

    fn bucket(&self) -> Result<Bucket> {
        let declared = manifest::Bucket {
            bucket: self.bucket.clone(),
            endpoint: self.endpoint.clone(),
            region: "garage".to_owned(),
            access_key: SecretName::new("s3-key-id")?,
            secret_key: SecretName::new("s3-key")?,
            public_base: None,
            rebuildable: Vec::new(),
            website: false,
        };
        Ok(Bucket::new(declared, self.end()?))
    }
}

/// A repository's password, which guards nothing.
pub(crate) const PASSWORD: &str = "of a bench";

fn opened(path: &Path) -> Repository {
    Repository {
        location: path.display().to_string(),
        password: Password::Value(PASSWORD.to_owned().into()),
        s3: None,
        ssh: None,
        ca: None,
        cache: Some(path.with_extension("cache")),
    }
}

fn backup(folders: &[PathBuf], stage: &Path, repository: &Path) -> Result<f64> {
    let work = Work::default();
    let digests = repository.with_extension("digests");
    let repository = opened(repository);
    repository.init(&work)?;
    let mut snapshot = Snapshot::from_json(
        br#"{ "schema": 1, "fedi": "0", "deployment": "bench", "app": "bench", "appVersion": "1", "epoch": 1,
             "began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:00Z", "consistency": "quiesced",
             "items": {}, "order": [] }"#,
    )?;
    let begun = Instant::now();
    let stage = Stage::begin_with(stage, digests)?;
    let mut kinds = Vec::new();
    for (number, folder) in folders.iter().enumerate() {
        let name = number.to_string();
        let (kind, item) = (directory(folder)?, stage.item_to_fill(&name)?);
        let observed = kind.capture(&work, &item, Consistency::Quiesced)?;
        snapshot.items.insert(name.clone(), observed);
        snapshot.order.push(name);
        kinds.push((kind, item));
    }
    stage.finish(&snapshot)?;
    let added = repository.backup(&work, &stage)?;
    for (kind, item) in kinds {
        kind.settle(&work, &item, Consistency::Quiesced)?;
    }
    stage.stored(&added.id)?;
    fedi_state::remove_folder(stage.root())?;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("  {} of {} files not read by restic, {} bytes new", added.unchanged, added.files, added.new_bytes);
    Ok(seconds)
}

fn fetch(stage: &Path, repository: &Path) -> Result<f64> {
    let work = Work::default();
    let repository = opened(repository);
    let stored = repository.snapshots(&work, "bench")?.pop().context("Nothing is stored")?;
    let begun = Instant::now();
    let fetched = repository.restore(&work, &stored.id, stage)?;
    let seconds = begun.elapsed().as_secs_f64();
    fs::write(beside(stage), serde_json::to_vec(&fetched.read()?.items["0"])?)?;
    Ok(seconds)
}
