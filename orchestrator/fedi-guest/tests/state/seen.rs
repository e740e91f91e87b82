//! What must be as it was when an operation has failed: all that is seen of a machine,
//! and the snapshots that a repository lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fedi_guest::agent;
use fedi_guest::protocol::{Call, ErrorReply, RepositoryAccess};

use crate::machine::{Machine, PASSWORD};
use crate::servers::alone;

/// What is seen of a machine from outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The states of units.
    units: BTreeMap<String, String>,
    /// Whether visitors see the maintenance page.
    maintenance: bool,
    /// The lease's own file.
    lease: Vec<u8>,
    /// The application's files.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    /// The application's rows, or that there is no database.
    pub(crate) rows: String,
    /// What is mounted on the machine.
    mounts: Vec<String>,
}

impl Machine {
    pub(crate) fn seen(&self) -> Seen {
        let units = ["fedi-toy.target", "toy.service"].map(|unit| (unit.to_owned(), self.unit(unit)));
        let mut files = BTreeMap::new();
        read(&self.path("/var/lib/toy"), &mut files);
        let exists = self.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%toy%'") != "0";
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = self.root().display().to_string();
        Seen {
            units: units.into(),
            maintenance: self.path("/run/fedi/maintenance").exists(),
            lease: fs::read(self.path("/var/lib/fedi/lease/toy")).unwrap_or_default(),
            files,
            rows: if exists { self.sql("toy", "SELECT count(*), sum(n) FROM notes") } else { "none".to_owned() },
            mounts: mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect(),
        }
    }

    /// How a request ends that must change nothing, neither here nor in the repository,
    /// and says what to do.
    pub(crate) fn untouched(&self, repository: &RepositoryAccess, request: impl Call) -> ErrorReply {
        let before = (self.seen(), snapshots(repository));
        let error = agent::perform(&self.guest(), request.into(), &mut |_| {}).expect_err("it is refused").reply();
        assert_eq!((self.seen(), snapshots(repository)), before, "{error}");
        assert!(self.has_no_stage(), "{error}");
        assert!(error.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{error:?}");
        assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
        error
    }
}

fn read(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), files);
        } else {
            files.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
}

/// The operator's own restic.
pub(crate) fn restic(repository: &RepositoryAccess) -> Command {
    let mut restic = alone(Path::new("/usr/bin/restic"));
    restic.args(["--no-cache", "--repo", &repository.location]).env("RESTIC_PASSWORD", PASSWORD);
    restic
}

/// What a restic command that must succeed wrote.
pub(crate) fn succeeds(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The ids of a repository's snapshots that count: those that are said to be whole. None
/// where there is no repository yet.
pub(crate) fn snapshots(repository: &RepositoryAccess) -> Vec<String> {
    if !Path::new(&repository.location).join("config").exists() {
        return Vec::new();
    }
    let listed = succeeds(restic(repository).args(["snapshots", "--json", "--no-lock"]));
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).unwrap();
    let has = |one: &serde_json::Value, tag: &str| one["tags"].as_array().unwrap().iter().any(|it| it == tag);
    let is_whole = |one: &&serde_json::Value| {
        let mark = format!("marks:{}", one["id"].as_str().unwrap());
        !has(one, "mark") && (!has(one, "wants-mark") || listed.iter().any(|other| has(other, &mark)))
    };
    listed.iter().filter(is_whole).map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Stores a snapshot anew with another manifest; its id.
pub(crate) fn altered(
    repository: &RepositoryAccess,
    snapshot: &str,
    change: impl FnOnce(&mut serde_json::Value),
) -> String {
    let folder = tempfile::tempdir().unwrap();
    succeeds(restic(repository).args(["restore", snapshot, "--target"]).arg(folder.path()));
    let path = folder.path().join("snapshot.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
    let listed = succeeds(restic(repository).args(["snapshots", "--json", "--no-lock", snapshot]));
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).unwrap();
    let mut again = restic(repository);
    again.args(["backup", "--json", "."]).current_dir(folder.path());
    // It is whole as it is.
    for tag in listed[0]["tags"].as_array().unwrap().iter().filter(|tag| **tag != "wants-mark") {
        again.arg("--tag").arg(tag.as_str().unwrap());
    }
    let known = snapshots(repository);
    succeeds(&mut again);
    snapshots(repository).into_iter().find(|id| !known.contains(id)).unwrap()
}

/// Bytes that no compression makes smaller.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A file system in memory, unmounted at the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: &Path, options: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("tmpfs", path, "tmpfs", rustix::mount::MountFlags::empty(), options.as_c_str()).unwrap();
        Self(path.to_owned())
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, size: &str) {
        let size = std::ffi::CString::new(format!("size={size}")).unwrap();
        rustix::mount::mount_remount(&self.0, rustix::mount::MountFlags::empty(), size.as_c_str()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
