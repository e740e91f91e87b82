//! Folders that are stored where they lie: what shows in the stage, to whom, and what of
//! it reaches a repository.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use fedi_model::manifest::Directory as Declared;
use fedi_state::directory::Directory;
use fedi_state::repository::{Added, Repository};
use fedi_state::{Consistency, ErrorClass, Kind, Observed, Snapshot, Stage, StateError, Tools, Work};
use rustix::io::Errno;

use crate::repository::{at, repository};
use crate::support::{Place, SmallDisk, Told, alter_one_byte, is_root, skipped, wait_until_settled};

fn directory(place: &Place, path: &Path, exclude: &[&str]) -> Directory {
    let declared = Declared {
        path: path.to_str().unwrap().to_owned(),
        owner: "root".to_owned(),
        group: None,
        exclude: exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
        at_least_files: 0,
        at_least_bytes: 0,
    };
    Directory::new(declared, place.accounts.clone()).unwrap()
}

/// A finished stage with that folder as its only item.
fn captured(place: &Place, kind: &Directory, consistency: Consistency) -> (Stage, Observed) {
    let stage = Stage::begin(place.path("stage")).unwrap();
    let observed = kind.capture(&place.work, &stage.item_to_fill("files").unwrap(), consistency).unwrap();
    let consistency = if consistency == Consistency::Quiesced { "quiesced" } else { "live" };
    let text = r#"{ "schema": 1, "fedi": "0", "deployment": "matrix", "app": "matrix", "appVersion": "1.2", "epoch": 3,
        "began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:00Z", "consistency": "@",
        "items": {}, "order": [] }"#;
    let mut snapshot = Snapshot::from_json(text.replace('@', consistency).as_bytes()).unwrap();
    snapshot.items.insert("files".to_owned(), observed.clone());
    snapshot.order.push("files".to_owned());
    stage.finish(&snapshot).unwrap();
    (stage, observed)
}

/// A backup as a guest makes it.
fn back_up(place: &Place, repository: &Repository, kind: &Directory) -> Added {
    let (stage, _) = captured(place, kind, Consistency::Quiesced);
    let added = repository.backup(&place.work, &stage).unwrap();
    kind.settle(&place.work, &stage.item("files").unwrap(), Consistency::Quiesced).unwrap();
    stage.stored(&added.id).unwrap();
    added
}

fn table(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

/// A place with an empty folder; none where no folder can be shown.
fn with_source() -> Option<(Place, PathBuf)> {
    if !is_root() {
        skipped("showing a folder in a stage needs root");
        return None;
    }
    let place = Place::new();
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    Some((place, source))
}

/// A place with a repository; none where there can be none.
fn with_repository() -> Option<(Place, Repository)> {
    let place = Place::new();
    let repository = repository(&place)?;
    repository.init(&place.work).unwrap();
    Some((place, repository))
}

#[test]
fn a_folder_shows_to_one_thread_and_read_only() {
    let Some((place, source)) = with_source() else { return };
    fs::create_dir(source.join("disk")).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let _disk = SmallDisk::mount(&source.join("disk"), 64);
    fs::write(source.join("disk/file"), "on another").unwrap();
    let (stage, _) = captured(&place, &directory(&place, &source, &[]), Consistency::Live);
    let tree = place.path("stage/items/files/tree");
    let shows = |path: &str| table(path).contains(tree.to_str().unwrap());
    let inside = stage.shown(|| {
        assert!(shows("/proc/thread-self/mountinfo") && !shows("/proc/self/mountinfo"));
        assert_eq!(fs::read(tree.join("disk/file")).unwrap(), b"on another");
        for file in ["new", "file", "disk/file"] {
            let error = fs::write(tree.join(file), "").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ROFS.raw_os_error()), "{file}");
        }
        // A program that is started here sees it, too.
        let cat = std::process::Command::new("cat").arg(tree.join("file")).output().unwrap();
        Ok(String::from_utf8(cat.stdout).unwrap())
    });
    assert_eq!(inside.unwrap(), "content");
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
    assert!(!shows("/proc/self/mountinfo"));
}

#[test]
fn removing_a_stage_never_reaches_the_source() {
    let Some((place, source)) = with_source() else { return };
    fs::write(source.join("file"), "content").unwrap();
    let (stage, _) = captured(&place, &directory(&place, &source, &[]), Consistency::Live);
    // Where it shows, the mount is in the way.
    let error = stage.shown(|| Ok(fedi_state::remove_folder(&place.path("stage")).unwrap_err())).unwrap();
    assert_eq!(error.class(), ErrorClass::Changed, "{error}");
    assert_eq!(fs::read(source.join("file")).unwrap(), b"content");
    // Elsewhere there is only an empty folder, also while it is shown.
    let (stage, _) = captured(&place, &directory(&place, &source, &[]), Consistency::Live);
    let (shown, is_shown) = channel();
    let (removed, is_removed) = channel();
    std::thread::scope(|scope| {
        let root = place.path("stage");
        scope.spawn(move || {
            is_shown.recv().unwrap();
            fedi_state::remove_folder(&root).unwrap();
            removed.send(()).unwrap();
        });
        stage
            .shown(move || {
                shown.send(()).unwrap();
                is_removed.recv().unwrap();
                Ok(())
            })
            .unwrap();
    });
    assert!(!place.path("stage").exists());
    assert_eq!(fs::read(source.join("file")).unwrap(), b"content");
}

#[test]
fn a_folder_that_was_exchanged_is_not_stored() {
    let Some((place, source)) = with_source() else { return };
    let (stage, _) = captured(&place, &directory(&place, &source, &[]), Consistency::Live);
    fs::rename(&source, place.path("aside")).unwrap();
    fs::create_dir(&source).unwrap();
    assert_eq!(stage.shown(|| Ok(())).unwrap_err().class(), ErrorClass::Changed);
}

#[test]
fn what_the_contract_leaves_out_reaches_no_repository() {
    let Some((place, repository)) = with_repository() else { return };
    let source = place.path("odd *[x] $HOME/source");
    let kept: [&[u8]; 6] = [b"a b", b"aXb", b"a*b.keep", b"\xff.keep", b"in/folder", b"new\nline.keep"];
    let left: [&[u8]; 10] = [
        b"a*b.out",
        b"a[b].out",
        b"$HOME.out",
        b"back\\slash.out",
        b"new\nline.out",
        b"\xff\xfe.out",
        b"#hash.out",
        b"cache/one",
        b"cache/deep/two",
        b"cache/.three",
    ];
    let path = |name: &[u8]| source.join(OsStr::from_bytes(name));
    for name in kept.iter().chain(&left) {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), name).unwrap();
    }
    // Blanks at the end of a line are easily lost.
    fs::write(path(b"out "), "").unwrap();
    fs::write(path(b"out"), "kept").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path(b"in/socket")).unwrap();
    let kind = directory(&place, &source, &["*.out", "cache", "out "]);
    let added = back_up(&place, &repository, &kind);
    repository.restore(&place.work, &added.id, &place.path("back")).unwrap();
    let tree = place.path("back/items/files/tree");
    for name in kept {
        assert_eq!(fs::read(tree.join(OsStr::from_bytes(name))).unwrap(), name, "{}", name.escape_ascii());
    }
    for name in left.iter().copied().chain([b"out ".as_slice(), b"in/socket"]) {
        let there = tree.join(OsStr::from_bytes(name));
        assert!(fs::symlink_metadata(there).is_err(), "{}", name.escape_ascii());
    }
    assert!(tree.join("out").exists());
    assert_eq!(fs::read_dir(tree.join("cache")).unwrap().count(), 0);
}

/// A folder with a hundred files whose times prove their content.
fn hundred(place: &Place) -> PathBuf {
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    for number in 0..100_u8 {
        fs::write(source.join(format!("{number}")), [number; 10_000]).unwrap();
    }
    wait_until_settled(&source.join("99"));
    source
}

#[test]
fn only_what_changed_is_read_again() {
    let Some((place, repository)) = with_repository() else { return };
    let source = hundred(&place);
    let kind = directory(&place, &source, &[]);
    let first = back_up(&place, &repository, &kind);
    assert_eq!(first.unchanged, 0);
    fs::write(source.join("7"), "another".repeat(3000)).unwrap();
    fs::remove_file(source.join("8")).unwrap();
    let unchanged = |added: &Added| added.unchanged;
    // README stays as it is in a stage that is made anew; the listing and the manifest do not.
    let second = back_up(&place, &repository, &kind);
    assert_eq!(unchanged(&second), 98, "{second:?}");
    // Also once it was marked, which gives it another name.
    repository.mark_proved(&place.work, "matrix", &second.id).unwrap();
    let third = back_up(&place, &repository, &kind);
    assert!(unchanged(&third) >= 98, "{third:?}");

    // All is read where what is known is damaged, of a snapshot that is gone, or of another repository.
    alter_one_byte(&place.path("stage/memory/digests/files"));
    assert_eq!(unchanged(&back_up(&place, &repository, &kind)), 0);
    let newest = back_up(&place, &repository, &kind);
    assert!(unchanged(&newest) >= 98, "{newest:?}");
    repository.remove(&place.work, &newest.id).unwrap();
    assert_eq!(unchanged(&back_up(&place, &repository, &kind)), 0);
    let other = at(place.path("other").to_str().unwrap(), "another", &place);
    other.init(&place.work).unwrap();
    let there = back_up(&place, &other, &kind);
    assert_eq!(unchanged(&there), 0);

    let restored = directory(&place, &place.path("target"), &[]);
    let stage = other.restore(&place.work, &there.id, &place.path("back")).unwrap();
    let (item, observed) = (stage.item("files").unwrap(), stage.read().unwrap().items["files"].clone());
    restored.restore(&place.work, &item, &observed).unwrap();
    restored.verify(&place.work, &item, &observed).unwrap();
}

#[test]
fn a_change_without_a_trace_is_stored() {
    let Some((place, repository)) = with_repository() else { return };
    let source = hundred(&place);
    // Written a moment ago: another change could have the same times.
    fs::write(source.join("fresh"), "fresh").unwrap();
    let kind = directory(&place, &source, &[]);
    back_up(&place, &repository, &kind);
    let digests = place.path("stage/memory/digests");
    let lines = fs::read_to_string(digests.join("files")).unwrap();
    let line = lines.lines().find(|line| line.contains("\"fresh\":true")).unwrap();
    assert!(line.contains("\"path\":\"fresh\"") && lines.matches("\"fresh\":true").count() == 1, "{lines}");
    // As if another content had been there at these times.
    let at = line.find("\"sha256\":\"").unwrap() + 10;
    let other = format!("{}{}{}", &line[..at], "0".repeat(64), &line[at + 64..]);
    fs::write(digests.join("files"), lines.replace(line, &other)).unwrap();
    let header = fs::read_to_string(digests.join("snapshot.json")).unwrap();
    let sum = |path: &Path| {
        let output = std::process::Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let before = header.split('"').find(|word| word.len() == 64 && header.contains(&format!("\"files\":\"{word}\"")));
    let header = header.replace(before.unwrap(), &sum(&digests.join("files")));
    fs::write(digests.join("snapshot.json"), header).unwrap();
    assert_eq!(back_up(&place, &repository, &kind).unchanged, 0);
}

/// Stores a folder in use, to which `meanwhile` happens between its digest and storing it.
fn in_use(meanwhile: impl FnOnce(&Path)) -> Option<(Place, Stage, Observed, u64)> {
    let (place, repository) = with_repository()?;
    let source = place.path("source");
    fs::create_dir_all(source.join("folder/deep")).unwrap();
    for name in ["a", "b", "folder/c", "folder/deep/d", "first"] {
        fs::write(source.join(name), format!("content of {name}")).unwrap();
    }
    fs::hard_link(source.join("first"), source.join("second")).unwrap();
    std::os::unix::fs::symlink("a", source.join("folder/link")).unwrap();
    let kind = directory(&place, &source, &[]);
    let (stage, _) = captured(&place, &kind, Consistency::Live);
    meanwhile(&source);
    let added = repository.backup(&place.work, &stage).unwrap();
    let moved = kind.settle(&place.work, &stage.item("files").unwrap(), Consistency::Live).unwrap();
    let error = kind.settle(&place.work, &stage.item("files").unwrap(), Consistency::Quiesced).err();
    assert_eq!(error.map(|error| error.class()), (moved > 0).then_some(ErrorClass::Changed));
    let stage = repository.restore(&place.work, &added.id, &place.path("back")).unwrap();
    let observed = stage.read().unwrap().items["files"].clone();
    Some((place, stage, observed, moved))
}

#[test]
fn a_folder_in_use_comes_back_as_it_was_stored() {
    let meanwhile = |source: &Path| {
        fs::write(source.join("a"), "another content").unwrap();
        fs::write(source.join("new"), "newer than the listing").unwrap();
        fs::remove_file(source.join("first")).unwrap();
        fs::remove_dir_all(source.join("folder/deep")).unwrap();
        // In the place of a file, a folder.
        fs::remove_file(source.join("folder/c")).unwrap();
        fs::create_dir(source.join("folder/c")).unwrap();
    };
    let Some((place, stage, observed, moved)) = in_use(meanwhile) else { return };
    // Three folders and the other name of the link changed with what is in them.
    assert!(moved >= 6, "{moved}");
    let target = place.path("target");
    let (kind, item) = (directory(&place, &target, &[]), stage.item("files").unwrap());
    kind.restore(&place.work, &item, &observed).unwrap();
    let report = kind.verify(&place.work, &item, &observed).unwrap();
    assert_eq!(report.notes.len(), 1, "{report:?}");
    assert_eq!(fs::read(target.join("a")).unwrap(), b"another content");
    assert_eq!(fs::read(target.join("b")).unwrap(), b"content of b");
    assert_eq!(fs::read(target.join("second")).unwrap(), b"content of first");
    for gone in ["new", "first", "folder/deep", "folder/c"] {
        assert!(!target.join(gone).exists(), "{gone}");
    }
    // Done before; and what is changed after that is found.
    kind.restore(&place.work, &item, &observed).unwrap();
    for file in ["a", "b"] {
        let content = fs::read(target.join(file)).unwrap();
        alter_one_byte(&target.join(file));
        let error = kind.verify(&place.work, &item, &observed).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Differs, "{file}");
        fs::write(target.join(file), content).unwrap();
    }
    fs::remove_file(target.join("b")).unwrap();
    assert_eq!(kind.verify(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::Differs);
}

#[test]
fn a_folder_in_use_is_no_excuse_for_damage() {
    let Some((place, stage, observed, moved)) = in_use(|_| ()) else { return };
    assert_eq!(moved, 0);
    let staged = stage.item("files").unwrap().folder.join("tree/a");
    let times = fs::metadata(&staged).unwrap().modified().unwrap();
    alter_one_byte(&staged);
    fs::File::options().write(true).open(&staged).unwrap().set_modified(times).unwrap();
    let kind = directory(&place, &place.path("target"), &[]);
    let error = kind.restore(&place.work, &stage.item("files").unwrap(), &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
    assert!(!place.path("target").exists());
}

/// Runs the real restic, and after a backup that is no mark says what `also` says.
fn restic_that(place: &Place, also: &str) -> Work {
    let real = Work::default().tools.find("restic").unwrap();
    let tools = place.path("tools");
    fs::create_dir_all(&tools).unwrap();
    let script = format!(
        "#!/bin/sh\n{} \"$@\" || exit $?\ncase \" $* \" in *' backup --json '*) {also} ;; esac\n",
        real.display()
    );
    fedi_test::program(&tools.join("new"), &script);
    fs::rename(tools.join("new"), tools.join("restic")).unwrap();
    Work { tools: Tools { folders: vec![tools] }, ..Work::default() }
}

#[test]
fn only_a_folder_in_use_may_lose_files_while_it_is_read() {
    let Some((place, repository)) = with_repository() else { return };
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let kind = directory(&place, &source, &[]);
    let root = place.path("stage").canonicalize().unwrap_or(place.path("stage"));
    let says = |path: &str, number: u32| {
        let path = root.join(path);
        let error = format!("\"error\":{{\"Op\":\"lstat\",\"Path\":\"x\",\"Err\":{number}}}");
        format!(
            "echo '{{\"message_type\":\"error\",{error},\"during\":\"archival\",\"item\":\"{}\"}}' >&2; exit 3",
            path.display()
        )
    };
    let stored = |consistency: Consistency, also: &str| -> Result<Added, StateError> {
        let (stage, _) = captured(&place, &kind, consistency);
        repository.backup(&restic_that(&place, also), &stage)
    };
    let good = stored(Consistency::Live, &says("items/files/tree/gone", 2)).unwrap();
    assert!(stored(Consistency::Quiesced, &says("items/files/tree/gone", 2)).is_err());
    assert!(stored(Consistency::Live, &says("items/files/tree/gone", 13)).is_err());
    assert!(stored(Consistency::Live, &says("items/files/files.jsonl", 2)).is_err());
    assert!(stored(Consistency::Live, "exit 3").is_err());
    // Of those that failed nothing is left.
    let left = repository.snapshots(&place.work, "matrix").unwrap();
    assert_eq!(left.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [good.id]);
}

#[test]
fn what_is_read_is_told() {
    let Some((mut place, repository)) = with_repository() else { return };
    let source = hundred(&place);
    let told = std::sync::Arc::new(Told::default());
    place.work.observer = told.clone();
    back_up(&place, &repository, &directory(&place, &source, &[]));
    assert_eq!(told.bytes("digest "), 1_000_000);
}
