//! What the tests of all kinds share.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use fedi_state::{Accounts, ItemStage, Observer, Progress, Stage, Work};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A folder for a test, with a stage in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) work: Work,
    pub(crate) accounts: Accounts,
}

impl Place {
    pub(crate) fn new() -> Self {
        // Other users must be able to pass through.
        let folder = tempfile::Builder::new().prefix("fedi-state-").tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        Self { folder, work: Work::default(), accounts: Accounts::load().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The stage, as it was left.
    pub(crate) fn stage(&self) -> Stage {
        Stage::open(self.path("stage"))
    }

    /// What was captured of an item.
    pub(crate) fn staged(&self, name: &str) -> ItemStage {
        self.stage().item(name).unwrap()
    }

    /// An item of a stage that is begun anew.
    pub(crate) fn item(&self, name: &str) -> ItemStage {
        Stage::begin(self.path("stage")).unwrap().item_to_fill(name).unwrap()
    }
}

/// Waits until the time stamps of a file prove its content: a second change would have others.
pub(crate) fn wait_until_settled(path: &Path) {
    let changed = std::fs::symlink_metadata(path).unwrap().ctime();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    while i64::try_from(now()).unwrap() < changed + 4 {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<String, u64>>);

impl Told {
    /// Bytes of what begins so, as they were told last.
    pub(crate) fn bytes(&self, what: &str) -> u64 {
        self.0.lock().unwrap().iter().filter(|(told, _)| told.starts_with(what)).map(|(_, bytes)| bytes).sum()
    }
}

impl Observer for Told {
    fn progress(&self, progress: &Progress) {
        self.0.lock().unwrap().insert(progress.what.clone(), progress.bytes);
    }

    fn notice(&self, _: &str) {}
}

/// Says that a test cannot run here.
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(file, "fedi-state: {why}").unwrap();
    }
}

/// Whether the tests run as root, which some need.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small file system in memory, unmounted at the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: &Path, kibibytes: u32) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = CString::new(format!("size={kibibytes}k,mode=0755")).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Alters one byte in the middle of a file, keeping its size.
pub(crate) fn alter_one_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
