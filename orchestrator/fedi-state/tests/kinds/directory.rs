//! `directory`: round trips of everything a file can have, floors, faults.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fedi_model::manifest::Directory as Declared;
use fedi_state::directory::Directory;
use fedi_state::{Consistency, ErrorClass, Kind, Observed, StateError, Work};

use crate::support::{Place, SmallDisk, Told, alter_one_byte, is_root, skipped, wait_until_settled};

fn declared(path: &Path) -> Declared {
    Declared {
        path: path.to_str().unwrap().to_owned(),
        owner: "root".to_owned(),
        group: None,
        exclude: Vec::new(),
        at_least_files: 0,
        at_least_bytes: 0,
    }
}

fn kind(place: &Place, path: &Path) -> Directory {
    Directory::new(declared(path), place.accounts.clone()).unwrap()
}

fn capture(place: &Place, path: &Path) -> Result<Observed, StateError> {
    kind(place, path).capture(&place.work, &place.item("files"), Consistency::Quiesced)
}

/// Captures, and leaves the stage as one that was fetched: with files of its own.
fn fetched(place: &Place, path: &Path) -> Observed {
    let observed = capture(place, path).unwrap();
    as_fetched(place, path, &[]);
    observed
}

/// Copies what shows in the stage, but some, to where it is in one that was fetched.
pub(crate) fn as_fetched(place: &Place, source: &Path, but: &[&str]) {
    let (stage, copy) = (place.stage(), place.path("fetched"));
    let tree = stage.root().join("items/files/tree");
    let copied = |from: &Path| Command::new("cp").arg("-a").arg(from.join(".")).arg(&copy).status().unwrap().success();
    if is_root() {
        assert!(stage.shown(|| Ok(copied(&tree))).unwrap());
    } else {
        assert!(copied(source));
    }
    for path in but {
        fs::remove_file(copy.join(path)).unwrap();
    }
    fs::remove_dir(&tree).unwrap();
    fs::rename(copy, tree).unwrap();
}

fn figures(observed: &Observed) -> &fedi_state::snapshot::ObservedDirectory {
    match observed {
        Observed::Directory(observed) => observed,
        other => panic!("{other:?}"),
    }
}

/// A folder with everything in it that a folder can have.
fn fill(source: &Path) {
    fs::create_dir_all(source.join("a/deep/er")).unwrap();
    fs::write(source.join("a/deep/er/file"), "content").unwrap();
    fs::write(source.join("a-b"), "sorts after a's content").unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::create_dir(source.join("empty folder")).unwrap();
    fs::write(source.join("new\nline"), "1").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"not utf-8 \xff\xfe")), "2").unwrap();
    fs::write(source.join("n".repeat(255)), "3").unwrap();
    fs::write(source.join("-rf"), "4").unwrap();
    fs::write(source.join("ü ' \" \\ $"), "5").unwrap();
    symlink("a/deep", source.join("link")).unwrap();
    symlink("/nonexistent/\nplace", source.join("dangling")).unwrap();
    fs::hard_link(source.join("a/deep/er/file"), source.join("z-hard")).unwrap();
    fs::set_permissions(source.join("empty"), fs::Permissions::from_mode(0o4710)).unwrap();
    fs::set_permissions(source.join("empty folder"), fs::Permissions::from_mode(0o2570)).unwrap();
    let holes = File::create(source.join("sparse")).unwrap();
    holes.write_all_at(b"start", 0).unwrap();
    holes.write_all_at(b"middle", 5 << 20).unwrap();
    holes.set_len(9 << 20).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    File::open(source.join("a")).unwrap().set_times(FileTimes::new().set_modified(long_ago)).unwrap();
    if is_root() {
        chown(source.join("a-b"), Some(1), Some(2)).unwrap();
        std::os::unix::fs::lchown(source.join("link"), Some(2), Some(1)).unwrap();
    }
}

#[test]
fn everything_comes_back() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    fs::create_dir(&source).unwrap();
    fill(&source);
    let file = File::open(source.join("a-b")).unwrap();
    let xattr = rustix::fs::fsetxattr(&file, c"user.note", b"\0\xff", rustix::fs::XattrFlags::empty()).is_ok();
    let observed = fetched(&place, &source);
    let seen = figures(&observed);
    assert_eq!((seen.files, seen.folders, seen.links, seen.moving), (10, 5, 2, 0));

    let there = kind(&place, &target);
    there.restore(&place.work, &place.staged("files"), &observed).unwrap();
    let report = there.verify(&place.work, &place.staged("files"), &observed).unwrap();
    assert_eq!(report.checks.len(), 1);
    assert_eq!(fs::read(target.join(OsStr::from_bytes(b"not utf-8 \xff\xfe"))).unwrap(), b"2");
    let hard = fs::metadata(target.join("z-hard")).unwrap();
    assert_eq!(hard.ino(), fs::metadata(target.join("a/deep/er/file")).unwrap().ino());
    let sparse = fs::metadata(target.join("sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
    assert_eq!(fs::metadata(target.join("a")).unwrap().mtime_nsec(), 123_456_789);
    assert_eq!(fs::metadata(target.join("empty")).unwrap().mode() & 0o7777, 0o4710);
    if xattr {
        let mut value = [0; 8];
        let file = File::open(target.join("a-b")).unwrap();
        let length = rustix::fs::fgetxattr(&file, c"user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"\0\xff");
    } else {
        skipped("no extended attributes on this file system");
    }
    if is_root() {
        assert_eq!(fs::metadata(target.join("a-b")).unwrap().uid(), 1);
        assert_eq!(fs::symlink_metadata(target.join("link")).unwrap().uid(), 2);
    }

    // A second time nothing is to do, and both captures say the same.
    there.restore(&place.work, &place.staged("files"), &observed).unwrap();
    let second = capture(&place, &target).unwrap();
    assert_eq!(figures(&second).digest, seen.digest);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 3, "something was left beside the target");
}

#[test]
fn a_fetched_stage_can_be_read_without_fedi() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    fs::create_dir(&source).unwrap();
    fill(&source);
    let observed = fetched(&place, &source);
    let tree = place.staged("files").folder.join("tree/.");
    let copied = Command::new("cp").arg("-a").arg(tree).arg(&target).status().unwrap();
    assert!(copied.success());
    kind(&place, &target).verify(&place.work, &place.staged("files"), &observed).unwrap();
}

#[test]
fn a_capture_copies_nothing_and_knows_again_what_was_stored() {
    let place = Place::new();
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    for number in 0..100 {
        fs::write(source.join(format!("{number}")), vec![0_u8; 1000]).unwrap();
    }
    fs::hard_link(source.join("1"), source.join("2nd name")).unwrap();
    wait_until_settled(&source.join("99"));
    let read = || {
        let told = Arc::new(Told::default());
        let work = Work { observer: told.clone(), ..Work::default() };
        let observed = kind(&place, &source).capture(&work, &place.item("files"), Consistency::Quiesced).unwrap();
        assert_eq!(fs::read_dir(place.staged("files").folder.join("tree")).unwrap().count(), 0);
        assert_eq!((figures(&observed).files, figures(&observed).bytes % 1000), (101, 0));
        told.bytes("digest ")
    };
    assert_eq!(read(), 100_000);
    // What was never stored counts for nothing.
    assert_eq!(read(), 100_000);
    place.stage().stored("one").unwrap();
    assert_eq!(read(), 0);
    fs::write(source.join("7"), vec![1_u8; 1000]).unwrap();
    fs::rename(source.join("7"), source.join("8")).unwrap();
    fs::write(source.join("7"), vec![2_u8; 2000]).unwrap();
    assert_eq!(read(), 3000);
    let digests = place.path("stage/memory/digests");
    alter_one_byte(&digests.join("files"));
    assert_eq!(read(), 101_000);
}

#[test]
fn an_empty_folder_is_under_its_floor() {
    let place = Place::new();
    let source = place.path("media");
    fs::create_dir(&source).unwrap();
    for (files, bytes, text) in [(1, 0, "0 files"), (0, 5, "0 bytes")] {
        let declared = Declared { at_least_files: files, at_least_bytes: bytes, ..declared(&source) };
        let kind = Directory::new(declared, place.accounts.clone()).unwrap();
        let error = kind.capture(&place.work, &place.item("files"), Consistency::Live).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Floor);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_symbolic_link_at_the_top_is_followed() {
    let place = Place::new();
    let (real, link) = (place.path("private/garage"), place.path("garage"));
    fs::create_dir_all(&real).unwrap();
    fs::write(real.join("data"), "x").unwrap();
    symlink("private/garage", &link).unwrap();
    let observed = fetched(&place, &link);
    assert_eq!(figures(&observed).files, 1);
    assert_eq!(figures(&observed).resolved.as_deref(), real.to_str());
    fs::remove_dir_all(place.path("private")).unwrap();
    let kind = kind(&place, &link);
    kind.restore(&place.work, &place.staged("files"), &observed).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && real.join("data").exists());
    kind.verify(&place.work, &place.staged("files"), &observed).unwrap();
}

#[test]
fn excluded_folders_are_kept_empty() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    for (file, text) in
        [("cache/a", "1"), ("keep/cache/b", "2"), ("x.log", "3"), ("keep/x.log", "4"), ("local.yaml", "5")]
    {
        fs::create_dir_all(source.join(file).parent().unwrap()).unwrap();
        fs::write(source.join(file), text).unwrap();
    }
    let exclude = ["cache", "*.log", "/local.yaml"].map(str::to_owned).to_vec();
    let of = |path: &Path| {
        Directory::new(Declared { exclude: exclude.clone(), ..declared(path) }, place.accounts.clone()).unwrap()
    };
    let observed = of(&source).capture(&place.work, &place.item("files"), Consistency::Quiesced).unwrap();
    as_fetched(&place, &source, &["cache/a", "x.log", "local.yaml"]);
    of(&target).restore(&place.work, &place.staged("files"), &observed).unwrap();
    of(&target).verify(&place.work, &place.staged("files"), &observed).unwrap();
    assert!(target.join("cache").is_dir() && !target.join("cache/a").exists());
    assert!(target.join("keep/cache/b").exists() && target.join("keep/x.log").exists());
    assert!(!target.join("x.log").exists() && !target.join("local.yaml").exists());
}

#[test]
fn sockets_are_left_out_and_counted() {
    let place = Place::new();
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let observed = capture(&place, &source).unwrap();
    assert_eq!(figures(&observed).left_out, 1);
}

/// Appends to a file without rest until it is dropped.
struct Restless(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Restless {
    fn start(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let mut file = File::options().append(true).open(path).unwrap();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                file.write_all(b"more").unwrap();
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed() {
    let place = Place::new();
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("log"), vec![b'x'; 4 << 20]).unwrap();
    let restless = Restless::start(source.join("log"));
    // On a busy machine the other thread may rest for a whole capture.
    let error = (0..1000).find_map(|_| capture(&place, &source).err()).unwrap();
    assert_eq!(error.class(), ErrorClass::Changed);
    assert!(error.to_string().contains("/log`"), "{error}");
    let live = || kind(&place, &source).capture(&place.work, &place.item("files"), Consistency::Live).unwrap();
    let seen = (0..1000).any(|_| figures(&live()).moving == 1);
    drop(restless);
    assert!(seen);
}

#[test]
fn a_damaged_stage_is_never_put_in_place() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    fs::create_dir(&source).unwrap();
    fill(&source);
    let tree = place.path("stage/items/files/tree");
    let list = place.path("stage/items/files/files.jsonl");
    let truncated = |path: &Path| File::options().write(true).open(path).unwrap().set_len(3).unwrap();
    let faults: [(&str, &dyn Fn()); 5] = [
        ("one byte of a file", &|| alter_one_byte(&tree.join("a-b"))),
        ("a truncated file", &|| truncated(&tree.join("a-b"))),
        ("a missing file", &|| fs::remove_file(tree.join("new\nline")).unwrap()),
        ("one byte of the listing", &|| alter_one_byte(&list)),
        ("a truncated listing", &|| {
            let text = fs::read_to_string(&list).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            fs::write(&list, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
        }),
    ];
    for (what, fault) in faults {
        let observed = fetched(&place, &source);
        fault();
        let error = kind(&place, &target).restore(&place.work, &place.staged("files"), &observed).unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Damaged | ErrorClass::Io), "{what}: {error}");
        assert!(!target.exists(), "{what}");
        assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 2, "{what}: something was left");
    }
}

#[test]
fn verifying_finds_every_difference() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    fs::create_dir(&source).unwrap();
    fill(&source);
    let observed = fetched(&place, &source);
    let kind = kind(&place, &target);
    let faults: [(&str, &dyn Fn()); 4] = [
        ("another content", &|| alter_one_byte(&target.join("a-b"))),
        ("another mode", &|| fs::set_permissions(target.join("a-b"), fs::Permissions::from_mode(0o600)).unwrap()),
        ("is missing", &|| fs::remove_file(target.join("z-hard")).unwrap()),
        ("is additional", &|| fs::write(target.join("zz"), "").unwrap()),
    ];
    for (what, fault) in faults {
        kind.restore(&place.work, &place.staged("files"), &observed).unwrap();
        fault();
        let error = kind.verify(&place.work, &place.staged("files"), &observed).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Differs);
        assert!(error.to_string().contains(what), "{what}: {error}");
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn a_place_that_is_not_empty_is_refused() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    fs::create_dir_all(&target).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), "new").unwrap();
    fs::write(target.join("b"), "mine").unwrap();
    let observed = fetched(&place, &source);
    let error = kind(&place, &target).restore(&place.work, &place.staged("files"), &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotEmpty);
    assert_eq!(fs::read(target.join("b")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    // An empty one is taken, and what a killed run left beside it is no hindrance.
    fs::remove_file(target.join("b")).unwrap();
    kind(&place, &target).restore(&place.work, &place.staged("files"), &observed).unwrap();
    assert_eq!(fs::read(target.join("a")).unwrap(), b"new");
}

#[test]
fn an_owner_that_is_not_there_is_refused() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), "x").unwrap();
    let names = fedi_state::Accounts::parse("synapse:x:0:0::/:\n", "synapse:x:0:\n");
    let there = Directory::new(declared(&source), names).unwrap();
    let observed = there.capture(&place.work, &place.item("files"), Consistency::Quiesced).unwrap();
    as_fetched(&place, &source, &[]);
    let error = kind(&place, &target).restore(&place.work, &place.staged("files"), &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Missing);
    assert!(error.to_string().contains("`synapse`"), "{error}");
    assert!(!target.exists());
}

#[test]
fn a_full_disk_at_either_side() {
    if !is_root() {
        skipped("small disks need root");
        return;
    }
    let place = Place::new();
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("big"), vec![7; 2 << 20]).unwrap();
    {
        // No room for the file, which is not copied; then none for the listing either.
        let _disk = SmallDisk::mount(&place.path("stage"), 1024);
        capture(&place, &source).unwrap();
        let item = place.item("files");
        let filled = fs::write(place.path("stage/filled"), vec![7; 2 << 20]);
        assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        let error = kind(&place, &source).capture(&place.work, &item, Consistency::Quiesced).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Full);
    }
    let observed = fetched(&place, &source);
    let target = place.path("disk/target");
    let _disk = SmallDisk::mount(&place.path("disk"), 1024);
    let error = kind(&place, &target).restore(&place.work, &place.staged("files"), &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Full);
    assert_eq!(fs::read_dir(place.path("disk")).unwrap().count(), 0);
    assert_eq!(fs::read(source.join("big")).unwrap().len(), 2 << 20);
}

#[test]
fn a_mount_point_is_filled_and_a_cut_off_filling_is_finished() {
    if !is_root() {
        skipped("mount points need root");
        return;
    }
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("disk"));
    fs::create_dir(&source).unwrap();
    fill(&source);
    let observed = fetched(&place, &source);
    let _disk = SmallDisk::mount(&target, 8192);
    // A run that was killed while it built.
    fs::create_dir_all(target.join(".fedi-restoring/tree/half")).unwrap();
    let kind = kind(&place, &target);
    kind.restore(&place.work, &place.staged("files"), &observed).unwrap();
    kind.verify(&place.work, &place.staged("files"), &observed).unwrap();
    // A run that was killed while it moved up what it had built.
    fs::create_dir_all(target.join(".fedi-restoring/tree")).unwrap();
    fs::write(target.join(".fedi-restoring/whole"), "").unwrap();
    fs::rename(target.join("a-b"), target.join(".fedi-restoring/tree/a-b")).unwrap();
    kind.restore(&place.work, &place.staged("files"), &observed).unwrap();
    kind.verify(&place.work, &place.staged("files"), &observed).unwrap();
}

#[test]
fn calling_off_leaves_the_source_alone() {
    let place = Place::new();
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    fill(&source);
    place.work.cancel.cancel();
    assert_eq!(capture(&place, &source).unwrap_err().class(), ErrorClass::Cancelled);
    assert!(source.join("a/deep/er/file").exists());
}
