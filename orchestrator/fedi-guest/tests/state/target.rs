//! Restores that fail or are refused: an error that says what and what to do, places that
//! are as they were, and no state that is called restored; and it works once the cause is gone.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fedi_guest::agent;
use fedi_guest::protocol::{
    ErrorKind, LeaseRevoke, RepositoryAccess, SecretValue, StateCaptured, StateRestore, StateVerify,
};
use fedi_model::state::Consistency::DumpThenFiles;

use crate::machine::{Machine, captures, repository, restores, toy};
use crate::seen::{SmallDisk, altered, noise, restic, snapshots, succeeds};

/// A fault in words, and what does it.
type Faults<'a, T> = [(&'a str, &'a dyn Fn(&mut T))];

/// An application that was captured once, with all that is needed to bring it back.
struct Captured {
    _folder: tempfile::TempDir,
    repository: RepositoryAccess,
    made: StateCaptured,
}

impl Captured {
    fn new(fill: impl FnOnce(&Machine)) -> Option<Self> {
        let source = Machine::with_application()?;
        fill(&source);
        let (folder, repository) = repository();
        let made = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
        Some(Self { _folder: folder, repository, made })
    }

    fn request(&self) -> StateRestore {
        restores(&self.repository, &self.made)
    }

    /// A request for the same snapshot with another manifest.
    fn with(&self, change: impl FnOnce(&mut serde_json::Value)) -> StateRestore {
        StateRestore { snapshot: altered(&self.repository, &self.made.snapshot, change), ..self.request() }
    }

    fn comes_back(&self, target: &Machine) {
        target.call(self.request()).unwrap();
        assert_eq!(target.sql("toy", "SELECT count(*), sum(n) FROM notes"), "1000|500500");
        assert_eq!(fs::read(target.path("/var/lib/toy/picture")).unwrap(), b"a picture");
        assert!(target.has_no_stage());
    }
}

/// The files of a repository that hold the first snapshot, smallest first; not those of the
/// mark that was stored after it and that no restore reads.
fn packs(repository: &RepositoryAccess) -> Vec<PathBuf> {
    let files = |folder: &str| {
        let found = walk(&Path::new(&repository.location).join(folder));
        found.into_iter().map(|path| (path.metadata().unwrap(), path)).collect::<Vec<_>>()
    };
    let stored = files("snapshots").iter().map(|(it, _)| it.modified().unwrap()).min().unwrap();
    let mut packs = files("data");
    packs.retain(|(it, _)| it.modified().unwrap() <= stored);
    packs.sort_by_key(|(it, _)| it.len());
    packs.into_iter().map(|(_, path)| path).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let inside = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    inside.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Any file of the repository, by one byte, cut off, or gone: none of it is restored, and
/// what was there before still is.
#[test]
fn a_repository_that_is_not_as_it_was_written() {
    let Some(it) = Captured::new(|_| ()) else { return };
    let target = Machine::dormant("1.5").unwrap();
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let faults: &Faults<Vec<u8>> = &[("one byte", &flip), ("cut off", &cut)];
    let packs = packs(&it.repository);
    let largest = packs.last().unwrap();
    for pack in &packs {
        let good = fs::read(pack).unwrap();
        let put = |bytes: &[u8]| {
            fs::remove_file(pack).unwrap_or_default();
            fs::write(pack, bytes).unwrap();
        };
        // The largest has the data; in the others is what restic knows of them.
        let faults = if pack == largest { faults } else { &faults[..1] };
        for (what, fault) in faults {
            let mut bytes = good.clone();
            fault(&mut bytes);
            put(&bytes);
            let error = target.untouched(&it.repository, it.request());
            assert_eq!(error.kind, ErrorKind::Damaged, "{what} of {}: {error}", pack.display());
        }
        put(&good);
    }
    it.comes_back(&target);
}

/// Restic is killed when it has fetched a part of the data.
#[test]
fn a_transfer_that_is_cut() {
    let Some(it) = Captured::new(|source| source.write("/var/lib/toy/film", &noise(24 << 20))) else { return };
    let target = Machine::dormant("1.5").unwrap();
    let script = format!(
        "#!/bin/sh\nfor word; do if [ \"$word\" = restore ]; then
           fetched() {{ set -- $(du -sk {}); echo $1; }}
           /usr/bin/restic --limit-download 4096 \"$@\" & restic=$!
           while [ \"$(fetched)\" -lt 2000 ]; do kill -0 $restic || exit 1; sleep 0.1; done
           kill -9 $restic; wait $restic; kill -9 $$
         fi; done\nexec /usr/bin/restic \"$@\"\n",
        target.path("/var/lib/fedi/stage/toy.restore").display()
    );
    target.tool("restic", &script);
    let error = target.untouched(&it.repository, it.request());
    assert_eq!(error.kind, ErrorKind::ToolFailed, "{error}");
    assert!(error.message.contains("signal 9"), "{error}");
    target.no_tool("restic");
    it.comes_back(&target);
}

#[test]
fn a_disk_without_room_for_the_stage() {
    let Some(it) = Captured::new(|source| source.write("/var/lib/toy/film", &noise(2 << 20))) else { return };
    let target = Machine::dormant("1.5").unwrap();
    let disk = SmallDisk::mount(&target.path("/var/lib/fedi/stage"), "size=2m,mode=0711");
    let error = target.untouched(&it.repository, it.request());
    assert_eq!(error.kind, ErrorKind::DiskFull);
    assert!(error.message.contains("MiB are free"), "{error}");
    disk.resize("64m");
    it.comes_back(&target);
    drop(disk);
}

#[test]
fn a_disk_without_room_for_the_files() {
    let Some(it) = Captured::new(|source| source.write("/var/lib/toy/film", &noise(2 << 20))) else { return };
    let target = Machine::dormant("1.5").unwrap();
    let disk = SmallDisk::mount(&target.path("/var/lib/toy"), "size=1m");
    let before = target.seen();
    let error = agent::call(&target.guest(), it.request(), &mut |_| {}).unwrap_err().reply();
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::DiskFull, true), "{error:?}");
    assert_eq!(target.seen(), before);
    disk.resize("64m");
    it.comes_back(&target);
    drop(disk);
}

#[test]
fn a_disk_without_room_for_the_database() {
    let rows = "CREATE TABLE large AS SELECT md5(n::text) || md5((-n)::text) AS text FROM generate_series(1, 200000) n";
    let Some(it) = Captured::new(|source| drop(source.sql("toy", rows))) else { return };
    let mut disk = None;
    // What is there before takes 22 MB, a new database 7 MB, the rows 20 MB.
    let target = Machine::dormant_with("1.5", |data| {
        let (base, old) = (data.join("base"), data.join("base.old"));
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&base).unwrap());
        fs::rename(&base, &old).unwrap();
        disk = Some(SmallDisk::mount(&base, &format!("size=40m,mode=0700,uid={owner},gid={owner}")));
        succeeds(std::process::Command::new("cp").arg("-a").arg(old.join(".")).arg(&base));
    });
    let (target, disk) = (target.unwrap(), disk.unwrap());
    let error = agent::call(&target.guest(), it.request(), &mut |_| {}).unwrap_err().reply();
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::DiskFull, true), "{error:?}");
    assert_eq!(target.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%toy%'"), "0");
    disk.resize("400m");
    it.comes_back(&target);
    assert_eq!(target.sql("toy", "SELECT count(*) FROM large"), "200000");
    drop(target);
    drop(disk);
}

#[test]
fn a_snapshot_that_does_not_fit() {
    let Some(it) = Captured::new(|_| ()) else { return };
    let target = Machine::dormant("1.5").unwrap();
    let faults: &Faults<serde_json::Value> = &[
        ("PostgreSQL 99 cannot go to an older one", &|it| it["items"]["db"]["postgres"]["serverMajor"] = 99.into()),
        ("older than the snapshot's 1.6", &|it| it["appVersion"] = "1.6".into()),
        ("takes over state from 1.0 on", &|it| it["appVersion"] = "0.9".into()),
        ("has version 2; this fedi reads version 1", &|it| it["schema"] = 2.into()),
        ("has no role `nobody`", &|it| it["items"]["db"]["postgres"]["roles"] = serde_json::json!(["nobody"])),
    ];
    for (what, change) in faults {
        let error = target.untouched(&it.repository, it.with(change));
        assert!(matches!(error.kind, ErrorKind::Incompatible | ErrorKind::Missing), "{error:?}");
        assert!(error.message.contains(what), "{error}");
    }
    let unknown = it.with(|it| it["items"]["db"]["postgres"]["fromTheFuture"] = 1.into());
    assert_eq!(target.untouched(&it.repository, unknown).kind, ErrorKind::Damaged);
    // An empty database of another collation.
    let create = |collation: &str| {
        let options = format!("LC_COLLATE '{collation}' LC_CTYPE '{collation}'");
        target.sql("postgres", &format!("CREATE DATABASE toy OWNER toy TEMPLATE template0 {options}"));
    };
    create("C.UTF-8");
    let error = agent::call(&target.guest(), it.request(), &mut |_| {}).unwrap_err().reply();
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Incompatible, true), "{error:?}");
    assert!(error.message.contains("collation C.UTF-8; the snapshot has C"), "{error}");
    assert!(!target.path("/var/lib/toy/picture").exists(), "nothing was touched");
    target.sql("postgres", "DROP DATABASE toy");
    create("C");
    it.comes_back(&target);
}

#[test]
fn places_that_are_not_empty() {
    let Some(it) = Captured::new(|_| ()) else { return };
    let target = Machine::dormant("1.5").unwrap();
    target.sql("postgres", "CREATE DATABASE toy OWNER toy TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    target.sql("toy", "CREATE TABLE notes (n int)");
    let error = target.untouched(&it.repository, it.request());
    assert_eq!(error.kind, ErrorKind::NotEmpty);
    assert!(error.message.contains("database toy"), "{error}");
    target.sql("toy", "DROP TABLE notes; CREATE TABLE mine (n int)");
    target.sql("toy", "DROP TABLE mine");
    // One file of somebody's: not even the database is begun with.
    target.write("/var/lib/toy/mine", b"mine");
    let error = agent::call(&target.guest(), it.request(), &mut |_| {}).unwrap_err().reply();
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::NotEmpty, true), "{error:?}");
    assert!(error.message.contains("/var/lib/toy"), "{error}");
    assert_eq!(fs::read(target.path("/var/lib/toy/mine")).unwrap(), b"mine");
    assert_eq!(target.sql("toy", "SELECT count(*) FROM pg_class WHERE relname = 'notes'"), "0");
    fs::remove_file(target.path("/var/lib/toy/mine")).unwrap();
    it.comes_back(&target);
}

#[test]
fn a_repository_that_another_password_does_not_open() {
    let Some(it) = Captured::new(|_| ()) else { return };
    let target = Machine::dormant("1.5").unwrap();
    let mut request = it.request();
    request.repository.password = SecretValue::new("another secret");
    let error = target.untouched(&it.repository, request);
    assert_eq!(error.kind, ErrorKind::Password, "{error}");
    assert!(!format!("{error:?}").contains("another secret"));
    it.comes_back(&target);
}

/// The places are no longer what was restored: a second call must not say that they are.
#[test]
fn what_was_restored_and_changed_is_not_called_good() {
    let Some(it) = Captured::new(|_| ()) else { return };
    let target = Machine::dormant("1.5").unwrap();
    it.comes_back(&target);
    let verify = StateVerify { app: toy(), repository: it.repository.clone(), snapshot: it.made.snapshot.clone() };
    let mut bytes = fs::read(target.path("/var/lib/toy/picture")).unwrap();
    bytes[0] ^= 1;
    fs::write(target.path("/var/lib/toy/picture"), bytes).unwrap();
    let error = target.untouched(&it.repository, verify);
    assert_eq!(error.kind, ErrorKind::Differs);
    assert!(error.message.contains("picture"), "{error}");
    // Another application has run here since: what was restored once says nothing any more.
    target.grant(5);
    target.call(LeaseRevoke { app: toy(), epoch: 5 }).unwrap();
    let error = target.untouched(&it.repository, it.request());
    assert_eq!(error.kind, ErrorKind::NotEmpty, "{error}");
}

/// Names as an application may give them, through the repository and back.
#[test]
fn names_that_are_hard_to_carry() {
    let names: [&[u8]; 9] = [
        b"new\nline",
        b"not utf-8 \xff\xfe",
        &[b'n'; 255],
        b"-rf",
        b"quote ' \" \\ $(x) `y`",
        b" ",
        b"*",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
    ];
    let fill = |source: &Machine| {
        for (number, name) in names.iter().enumerate() {
            let folder = source.path("/var/lib/toy").join(OsStr::from_bytes(name));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(OsStr::from_bytes(name)), [u8::try_from(number).unwrap()]).unwrap();
        }
        // As systemd's DynamicUser has it.
        let (place, private) = (source.path("/var/lib/toy"), source.path("/var/lib/private"));
        fs::create_dir(&private).unwrap();
        fs::rename(&place, private.join("toy")).unwrap();
        std::os::unix::fs::symlink("private/toy", &place).unwrap();
    };
    let Some(it) = Captured::new(fill) else { return };
    let target = Machine::dormant("1.5").unwrap();
    it.comes_back(&target);
    for (number, name) in names.iter().enumerate() {
        let path = target.path("/var/lib/toy").join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), [u8::try_from(number).unwrap()], "{}", path.display());
    }
    assert_eq!(fs::read_dir(target.path("/var/lib/toy")).unwrap().count(), names.len() + 2);
    assert_eq!(snapshots(&it.repository), std::slice::from_ref(&it.made.snapshot));
    succeeds(restic(&it.repository).args(["check", "--read-data"]));
}
