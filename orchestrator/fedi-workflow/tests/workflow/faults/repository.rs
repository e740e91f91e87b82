//! Repositories that cannot be used: locked by a run at work, locked by one that crashed,
//! full, read-only. Real restic; the application runs again whatever happens.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fedi_engine::Outcome;
use fedi_engine::drivers::{DriverErrorKind, RepositoryLock};
use fedi_model::event::Event;
use fedi_model::name::{DeploymentName, RepositoryName};
use fedi_model::run::Failure;
use fedi_model::state::Consistency;
use fedi_testsite::TestSite;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::{completed, site, unwound};
use crate::restic_is_there;

fn matrix() -> DeploymentName {
    DeploymentName::new("matrix").unwrap()
}

fn main_repository() -> RepositoryName {
    RepositoryName::new("main").unwrap()
}

/// `matrix` runs and was captured twice into a real repository; prune keeps one snapshot.
async fn captured() -> TestSite {
    let mut site = site().await;
    site.wiring.layout.use_restic("keep = { last = 1, daily = 0, weekly = 0, monthly = 0 }\n");
    site.reopen();
    completed(&site.deploy("matrix").await.unwrap());
    site.backup("matrix").await;
    site.backup("matrix").await;
    site
}

fn folder(site: &TestSite) -> PathBuf {
    site.wiring.layout.repositories().join("main")
}

/// `fedi backup create --consistency quiesced`.
async fn create(site: &TestSite) -> Outcome {
    let prepared = site.wiring.desk.backup(&matrix(), Some(Consistency::Quiesced)).await.unwrap();
    site.engine().start(&prepared.plan).await.unwrap()
}

async fn restore(site: &TestSite) -> Outcome {
    let desk = &site.wiring.desk;
    let at = desk.pick(&matrix(), None).await.unwrap();
    let prepared = desk.restore(&site.wiring.deployment("matrix"), &at).await.unwrap();
    desk.begin_restore(&prepared).await.unwrap();
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    desk.forget(&matrix()).await.unwrap();
    outcome
}

/// `fedi backup prune`.
async fn prune(site: &TestSite) -> Result<Vec<String>, fedi_engine::drivers::DriverError> {
    site.wiring.desk.repositories.prune(&main_repository(), &matrix()).await
}

async fn locks(site: &TestSite) -> Vec<RepositoryLock> {
    site.wiring.desk.repositories.locks(&main_repository(), &matrix()).await.unwrap()
}

async fn unlock(site: &TestSite) {
    site.wiring.desk.repositories.remove_stale_locks(&main_repository(), &matrix()).await.unwrap();
}

async fn snapshots(site: &TestSite) -> usize {
    let incomplete = site.wiring.desk.incomplete(&matrix()).await.unwrap();
    assert_eq!(incomplete, [], "nothing half-done is left");
    site.wiring.desk.snapshots(&matrix()).await.unwrap().1.len()
}

/// The application writes into its database.
fn write(site: &TestSite, text: &str) {
    site.wiring.guests.change("matrix", |guest| {
        guest.apps.get_mut("matrix").unwrap().state.insert("db".to_owned(), text.to_owned());
    });
}

/// It runs with the right to, on what it had written.
#[track_caller]
fn runs(site: &TestSite, text: &str) {
    let app = site.wiring.guests.named("matrix").unwrap().apps["matrix"].clone();
    assert!(app.held && app.runs_with.is_some(), "it runs again: {app:?}");
    assert!(app.state["db"] == text, "its state is untouched");
}

#[track_caller]
fn told(failure: &Failure, message: &str, hint: &str) {
    assert!(failure.message.contains(message), "no `{message}` in {failure:?}");
    assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "no `{hint}` in {failure:?}");
}

/// A restic that holds the repository for itself alone, and rests.
struct Holder(Child);

impl Holder {
    async fn of(site: &TestSite) -> Self {
        let folder = folder(site);
        let access = site.wiring.desk.repositories.access(&main_repository(), &matrix()).await.unwrap();
        let password = site.root().join("password");
        fs::write(&password, access.password.expose()).unwrap();
        let index = fs::read_dir(folder.join("index")).unwrap().next().unwrap().unwrap().path();
        fs::rename(&index, folder.join("index-file")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &index, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let mut check = Command::new("restic");
        check.args(["--no-cache", "check", "--repo"]).arg(&folder).arg("--password-file").arg(&password);
        let mut child = check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // While it is being written it has a longer name.
        let is_lock = |file: fs::DirEntry| file.file_name().len() == 64;
        while !fs::read_dir(folder.join("locks")).unwrap().flatten().any(is_lock) {
            assert!(child.try_wait().unwrap().is_none(), "restic ended without a lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // It waits for an index file that nobody writes, and does not see that it is back.
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        fs::rename(folder.join("index-file"), &index).unwrap();
        Self(child)
    }

    /// It is killed; its lock stays.
    fn crashes(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// It comes to its end; its lock is gone.
    fn ends(self, site: &TestSite) {
        self.crashes();
        for lock in fs::read_dir(folder(site).join("locks")).unwrap() {
            fs::remove_file(lock.unwrap().path()).unwrap();
        }
    }
}

#[tokio::test]
async fn another_run_has_it_locked() {
    let Some(()) = restic_is_there() else { return };
    let site = captured().await;
    write(&site, "later");
    let holder = Holder::of(&site).await;
    let by = format!("locked exclusively by PID {}", holder.0.id());

    told(&unwound(&create(&site).await), &by, "Wait for the other run");
    runs(&site, "later");
    // In place: not even its fail-safe can be stored.
    told(&unwound(&restore(&site).await), &by, "Wait for the other run");
    runs(&site, "later");
    let error = prune(&site).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable);
    assert!(error.causes.iter().any(|cause| cause.contains(&by)), "{error:?}");
    assert!(error.hint.unwrap().contains("`fedi backup check --unlock`"));
    // Nothing takes the lock from somebody who is at work.
    unlock(&site).await;
    assert!(matches!(locks(&site).await.as_slice(), [RepositoryLock { stale: false, .. }]));
    assert_eq!(snapshots(&site).await, 2);
    let failed = site.wiring.desk.backup_history(&matrix()).await.unwrap().failed.unwrap();
    assert!(failed.why.contains("is locked"), "{failed:?}");

    holder.ends(&site);
    completed(&create(&site).await);
    runs(&site, "later");
    assert_eq!(prune(&site).await.unwrap().len(), 2);
    assert_eq!(snapshots(&site).await, 1);
}

/// A new guest cannot be filled: it goes again, and comes once the repository is free.
#[tokio::test]
async fn another_run_has_it_locked_and_the_guest_is_gone() {
    let Some(()) = restic_is_there() else { return };
    let site = captured().await;
    completed(&site.destroy("matrix").await.unwrap());
    let holder = Holder::of(&site).await;
    told(&unwound(&restore(&site).await), "is locked", "Wait for the other run");
    assert_eq!(site.wiring.guests.named("matrix"), None);
    assert_eq!(site.wiring.ledger("matrix").await, Vec::<String>::new());
    holder.ends(&site);
    completed(&restore(&site).await);
    runs(&site, "made by epoch 1");
    assert_eq!(snapshots(&site).await, 2);
}

/// Ctrl-C while a stopped application waits for the repository: the run is taken up.
#[tokio::test]
async fn a_run_that_waits_for_it_is_stopped_and_resumed() {
    let Some(()) = restic_is_there() else { return };
    let site = captured().await;
    write(&site, "later");
    let holder = Holder::of(&site).await;
    let engine = site.engine();
    let prepared = site.wiring.desk.backup(&matrix(), Some(Consistency::Quiesced)).await.unwrap();
    let (interrupt, recorder) = (engine.interrupt(), site.recorder.clone());
    let press = async {
        while !recorder.events().iter().any(|event| matches!(event, Event::StepRetrying { .. })) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        interrupt.request();
    };
    let (outcome, ()) = tokio::join!(engine.start(&prepared.plan), press);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.exit_code(), 4, "{outcome:?}");
    told(outcome.failure().unwrap(), "is locked", "Wait for the other run");
    assert_eq!(site.wiring.guests.named("matrix").unwrap().apps["matrix"].runs_with, None, "it is stopped meanwhile");
    holder.ends(&site);
    completed(&site.engine().resume(outcome.run().unwrap()).await.unwrap());
    runs(&site, "later");
    assert_eq!(snapshots(&site).await, 3);
}

#[tokio::test]
async fn a_crash_left_it_locked() {
    let Some(()) = restic_is_there() else { return };
    let site = captured().await;
    write(&site, "later");
    Holder::of(&site).await.crashes();
    told(&unwound(&create(&site).await), "is locked", "`fedi backup check --unlock`");
    runs(&site, "later");
    assert!(prune(&site).await.is_err());
    assert!(matches!(locks(&site).await.as_slice(), [RepositoryLock { stale: true, .. }]));
    unlock(&site).await;
    assert_eq!(locks(&site).await, []);
    completed(&create(&site).await);
    assert_eq!(prune(&site).await.unwrap().len(), 2);
    assert_eq!(snapshots(&site).await, 1);
}

/// A file system of its own below a repository, unmounted with this.
struct Disk(PathBuf);

impl Disk {
    /// Moves the repository onto it.
    fn below(path: &Path, size: &str) -> Self {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap();
        let options = CString::new(format!("size={size}")).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        let disk = Self(path.to_owned());
        for entry in fs::read_dir(&aside).unwrap() {
            let moved = Command::new("mv").arg(entry.unwrap().path()).arg(path).status().unwrap();
            assert!(moved.success());
        }
        disk
    }

    fn change(&self, flags: MountFlags, options: &str) {
        mount_remount(&self.0, flags, CString::new(options).unwrap().as_c_str()).unwrap();
    }

    /// No block of it is left.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.join("filling")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Mounting takes root.
fn may_mount() -> Option<()> {
    restic_is_there()?;
    if rustix::process::geteuid().is_root() {
        return Some(());
    }
    octodns_client::testing::skip("mounting a small disk takes root");
    None
}

#[tokio::test]
async fn it_is_full() {
    let Some(()) = may_mount() else { return };
    let site = captured().await;
    write(&site, "later");
    let disk = Disk::below(&folder(&site), "8m");
    disk.fill();
    told(&unwound(&create(&site).await), "has no room left", "Free space");
    runs(&site, "later");
    told(&unwound(&restore(&site).await), "has no room left", "Free space");
    runs(&site, "later");
    let error = prune(&site).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Failed);
    assert!(error.causes.iter().any(|cause| cause.contains("has no room left")), "{error:?}");
    assert!(error.hint.unwrap().contains("Make room"));
    // What there is can be seen.
    assert_eq!(snapshots(&site).await, 2);
    disk.change(MountFlags::empty(), "size=64m");
    completed(&create(&site).await);
    completed(&restore(&site).await);
    runs(&site, "later");
    assert_eq!(prune(&site).await.unwrap().len(), 3, "of five, with the fail-safe");
}

#[tokio::test]
async fn it_can_only_be_read() {
    let Some(()) = may_mount() else { return };
    let site = captured().await;
    write(&site, "later");
    let disk = Disk::below(&folder(&site), "64m");
    disk.change(MountFlags::RDONLY, "size=64m");
    told(&unwound(&create(&site).await), "read-only", "rights");
    runs(&site, "later");
    assert_eq!(snapshots(&site).await, 2);
    disk.change(MountFlags::empty(), "size=64m");
    completed(&create(&site).await);
    assert_eq!(prune(&site).await.unwrap().len(), 2);
    completed(&site.destroy("matrix").await.unwrap());
}
