//! Repositories with the real restic.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fedi_model::manifest::Directory as Declared;
use fedi_state::directory::Directory;
use fedi_state::repository::{Keep, Password, Repository};
use fedi_state::{Consistency, ErrorClass, Kind, Observer, Progress, Snapshot, Stage, StateError};
use jiff::{SignedDuration, Timestamp};

use crate::support::{Place, SmallDisk, is_root, skipped};

const PASSWORD: &str = "correct horse battery";

pub(crate) fn repository(place: &Place) -> Option<Repository> {
    if place.work.tools.find("restic").is_none() {
        skipped("restic is not installed");
        return None;
    }
    if !is_root() {
        skipped("storing a folder where it lies needs root");
        return None;
    }
    Some(at(place.path("repository").to_str().unwrap(), PASSWORD, place))
}

pub(crate) fn at(location: &str, password: &str, place: &Place) -> Repository {
    Repository {
        location: location.to_owned(),
        password: Password::Value(password.to_owned().into()),
        s3: None,
        ca: None,
        ssh: None,
        cache: Some(place.path("cache")),
    }
}

/// A finished stage with one folder in it.
pub(crate) fn stage(place: &Place) -> (Stage, Directory) {
    let source = place.path("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    fs::write(source.join("new\nline"), "odd").unwrap();
    fs::write(source.join("big"), (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    let declared = |path: PathBuf| Declared {
        path: path.to_str().unwrap().to_owned(),
        owner: "root".to_owned(),
        group: None,
        exclude: Vec::new(),
        at_least_files: 3,
        at_least_bytes: 0,
    };
    let kind = Directory::new(declared(source), place.accounts.clone()).unwrap();
    let stage = Stage::begin(place.path("stage")).unwrap();
    let item = stage.item_to_fill("files").unwrap();
    let observed = kind.capture(&place.work, &item, Consistency::Quiesced).unwrap();
    let mut snapshot = Snapshot::from_json(
        br#"{ "schema": 1, "fedi": "0", "deployment": "matrix", "app": "matrix", "appVersion": "1.2", "epoch": 3,
             "began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:00Z", "consistency": "quiesced",
             "items": {}, "order": [] }"#,
    )
    .unwrap();
    snapshot.items.insert("files".to_owned(), observed);
    snapshot.order.push("files".to_owned());
    stage.finish(&snapshot).unwrap();
    (stage, Directory::new(declared(place.path("target")), place.accounts.clone()).unwrap())
}

#[test]
fn a_stage_comes_back_from_a_repository() {
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    repository.init(&place.work).unwrap();
    repository.init(&place.work).unwrap();
    let (stage, there) = stage(&place);
    let added = repository.backup(&place.work, &stage).unwrap();
    assert!(added.bytes > 1_200_000 && added.new_bytes > 1_200_000, "{added:?}");
    let again = repository.backup(&place.work, &stage).unwrap();
    assert!(again.new_bytes < added.new_bytes / 10, "{again:?}");

    let stored = repository.snapshots(&place.work, "matrix").unwrap();
    assert_eq!(stored.len(), 2);
    assert!(stored[0].tags.contains(&"epoch:3".to_owned()), "{stored:?}");
    assert_eq!(repository.snapshots(&place.work, "other").unwrap(), []);
    assert_eq!(repository.manifest(&place.work, &added.id).unwrap(), stage.read().unwrap());

    let back = repository.restore(&place.work, &added.id, &place.path("back")).unwrap();
    let snapshot = back.read().unwrap();
    assert!(!back.root().join("memory").exists());
    let item = back.item("files").unwrap();
    there.restore(&place.work, &item, &snapshot.items["files"]).unwrap();
    there.verify(&place.work, &item, &snapshot.items["files"]).unwrap();
    let error = repository.restore(&place.work, &added.id, &place.path("back")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotEmpty);

    // The proved one stays, whatever the rules say.
    let proved = repository.mark_proved(&place.work, "matrix", &added.id).unwrap();
    let keep = Keep { last: 1, daily: 0, weekly: 0, monthly: 0 };
    repository.backup(&place.work, &stage).unwrap();
    let gone = repository.forget(&place.work, "matrix", &keep, &[]).unwrap();
    assert_eq!(gone, [again.id]);
    let left = repository.snapshots(&place.work, "matrix").unwrap();
    assert!(left.iter().any(|one| one.id == proved && one.is_proved()), "{left:?}");
    repository.check(&place.work, 100).unwrap();
}

/// Writes down what is told.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<String>>);

impl Observer for Told {
    fn progress(&self, _: &Progress) {}

    fn notice(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// The clock is far ahead for one snapshot, set right again, and far behind for another.
#[test]
fn snapshots_are_in_the_order_of_storing_whatever_the_clock_says() {
    let mut place = Place::new();
    let Some(repository) = repository(&place) else { return };
    let told = std::sync::Arc::new(Told::default());
    place.work.observer = told.clone();
    let tools = place.path("tools");
    fs::create_dir(&tools).unwrap();
    place.work.tools.folders.insert(0, tools.clone());
    repository.init(&place.work).unwrap();
    let (stage, _) = stage(&place);
    let stored = |time: &str| {
        // Go reads the clock without asking a library that could be replaced.
        let script = format!(
            "#!/bin/sh\nfor word; do [ \"$word\" != backup ] || set -- \"$@\" --time \"{time}\"; done\nexec /usr/bin/restic \"$@\"\n"
        );
        fedi_test::program(&tools.join("restic.new"), &script);
        fs::rename(tools.join("restic.new"), tools.join("restic")).unwrap();
        repository.backup(&place.work, &stage).unwrap().id
    };
    let ids = ["2026-01-01 00:00:00", "2131-01-01 00:00:00"].map(stored);
    assert_eq!(*told.0.lock().unwrap(), [""; 0]);
    let ids = [ids, ["2026-01-02 00:00:00", "2001-01-01 00:00:00"].map(stored)].concat();
    let said = told.0.lock().unwrap().clone();
    assert!(said.iter().all(|it| it.contains("2131") && it.contains("check the guest's clock")), "{said:?}");
    assert_eq!(said.len(), 2);
    let found = |work| repository.snapshots(work, "matrix").unwrap().into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(found(&place.work), ids);
    // A mark does not change the place of one, and the last one is never forgotten.
    let proved = repository.mark_proved(&place.work, "matrix", &ids[0]).unwrap();
    let keep = Keep { last: 1, daily: 0, weekly: 0, monthly: 0 };
    assert_eq!(repository.forget(&place.work, "matrix", &keep, &[]).unwrap(), ids[1..3]);
    assert_eq!(found(&place.work), [proved, ids[3].clone()]);
}

#[test]
fn what_is_wrong_with_a_repository_is_told_apart() {
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    let class = |result: Result<(), StateError>| result.unwrap_err().class();
    assert_eq!(class(repository.is_there(&place.work)), ErrorClass::NotFound);
    repository.init(&place.work).unwrap();
    let wrong = at(&repository.location, "wrong secret", &place);
    let error = wrong.init(&place.work).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Password);
    assert!(!format!("{error:?}").contains("secret"));
    let nobody = at("rest:http://user:secret@127.0.0.1:1/", PASSWORD, &place);
    let error = nobody.is_there(&place.work).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreachable, "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let missing = repository.restore(&place.work, "0123abcd", &place.path("back")).unwrap_err();
    assert_eq!(missing.class(), ErrorClass::NotFound, "{missing}");
    let unfinished = Stage::begin(place.path("stage")).unwrap();
    assert_eq!(repository.backup(&place.work, &unfinished).unwrap_err().class(), ErrorClass::Damaged);
}

#[test]
fn an_altered_repository_is_not_called_good() {
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    repository.init(&place.work).unwrap();
    let (stage, _) = stage(&place);
    let added = repository.backup(&place.work, &stage).unwrap();
    let mut packs = Vec::new();
    for folder in fs::read_dir(place.path("repository/data")).unwrap() {
        packs.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    let biggest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::set_permissions(biggest, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    crate::support::alter_one_byte(biggest);
    let error = repository.restore(&place.work, &added.id, &place.path("back")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged, "{error:?}");
    assert_eq!(fs::read_dir(place.path("back")).unwrap().count(), 0);
    let error = repository.check(&place.work, 100).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged, "{error:?}");
}

#[test]
fn a_lock_left_by_a_crash_is_recognised() {
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    repository.init(&place.work).unwrap();
    let password = place.path("password");
    fs::write(&password, PASSWORD).unwrap();
    // Another run, which reads what never comes.
    let mut other = Command::new("restic")
        .args(["--no-cache", "--repo", &repository.location, "backup", "--stdin", "--password-file"])
        .arg(&password)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while repository.locks(&place.work).unwrap().is_empty() {
        assert!(std::time::Instant::now() < end, "the other run took no lock");
    }
    let error = repository.check(&place.work, 0).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Locked, "{error:?}");
    assert!(error.to_string().contains(&format!("PID {}", other.id())), "{error}");
    // Nor if the clock jumps: restic would go by the time alone, and is not asked to.
    let day = SignedDuration::from_hours(24);
    for now in [Timestamp::now(), Timestamp::now() + day, Timestamp::now() - day] {
        assert_eq!(repository.stale_locks(&place.work, now).unwrap(), []);
    }
    let error = repository.remove_stale_locks(&place.work, Timestamp::now() + day).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Locked, "{error}");
    assert!(error.to_string().contains(&format!("PID {}", other.id())), "{error}");
    repository.remove_stale_locks(&place.work, Timestamp::now()).unwrap();
    assert_eq!(repository.locks(&place.work).unwrap().len(), 1);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(repository.stale_locks(&place.work, Timestamp::now()).unwrap().len(), 1);
    repository.remove_stale_locks(&place.work, Timestamp::now()).unwrap();
    repository.check(&place.work, 0).unwrap();
}

#[test]
fn a_full_repository_is_told() {
    if !is_root() {
        skipped("small disks need root");
        return;
    }
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    let _disk = SmallDisk::mount(&place.path("repository"), 512);
    repository.init(&place.work).unwrap();
    let (stage, _) = stage(&place);
    let error = repository.backup(&place.work, &stage).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Full, "{error:?}");
    assert_eq!(repository.snapshots(&place.work, "matrix").unwrap(), []);
}

#[test]
fn what_nobody_said_to_be_whole_does_not_count() {
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    repository.init(&place.work).unwrap();
    let (stage, _) = stage(&place);
    let tag = ["run:one".to_owned()];
    let before = repository.begin(&place.work, "matrix").unwrap();
    let added = repository.backup_tagged(&place.work, &stage, &before, &tag).unwrap();
    // Not to a list, a retry, a restore or a rule.
    assert_eq!(repository.snapshots(&place.work, "matrix").unwrap(), []);
    assert_eq!(repository.tagged(&place.work, "run:one").unwrap(), []);
    let error = repository.restore(&place.work, &added.id, &place.path("back")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
    assert!(error.to_string().contains("incomplete"), "{error}");
    let keep = Keep { last: 1, daily: 0, weekly: 0, monthly: 0 };
    assert_eq!(repository.outdated(&place.work, "matrix", &keep, &[]).unwrap(), Vec::<String>::new());
    let incomplete = repository.incomplete(&place.work, "matrix").unwrap();
    assert_eq!(incomplete.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [added.id.as_str()]);

    repository.complete(&place.work, "matrix", &added.id).unwrap();
    assert_eq!(repository.incomplete(&place.work, "matrix").unwrap(), []);
    assert_eq!(repository.tagged(&place.work, "run:one").unwrap().len(), 1);
    repository.restore(&place.work, &added.id, &place.path("back")).unwrap();
    // Proved, it goes by another id; its mark still holds, and goes with it in the end.
    let proved = repository.mark_proved(&place.work, "matrix", &added.id).unwrap();
    repository.restore(&place.work, &proved, &place.path("again")).unwrap();
    let second = repository.backup(&place.work, &stage).unwrap();
    repository.mark_proved(&place.work, "matrix", &second.id).unwrap();
    assert_eq!(repository.forget(&place.work, "matrix", &keep, &[]).unwrap(), [proved]);
    let left = fs::read_dir(place.path("repository/snapshots")).unwrap().count();
    assert_eq!(left, 2, "the second one and its mark");
    assert_eq!(repository.snapshots(&place.work, "matrix").unwrap().len(), 1);
    assert_eq!(repository.incomplete(&place.work, "matrix").unwrap(), []);
}

/// A backup takes its time: what the repository had when it began may be gone or called
/// otherwise when it is stored.
#[test]
fn what_is_pruned_while_a_backup_is_made_is_no_matter() {
    if !is_root() {
        skipped("storing a folder where it lies needs root");
        return;
    }
    let place = Place::new();
    let Some(repository) = repository(&place) else { return };
    // It is made by whoever comes first.
    assert_eq!(repository.is_there(&place.work).unwrap_err().class(), ErrorClass::NotFound);
    let before = repository.begin(&place.work, "matrix").unwrap();
    let (stage, _) = stage(&place);
    let first = repository.backup_tagged(&place.work, &stage, &before, &["run:one".to_owned()]).unwrap();
    repository.complete(&place.work, "matrix", &first.id).unwrap();
    stage.stored(&first.id).unwrap();

    let before = repository.begin(&place.work, "matrix").unwrap();
    assert_eq!(before.tagged("run:one").map(|one| one.id.as_str()), Some(first.id.as_str()));
    assert!(before.tagged("run:two").is_none());
    // By the way, it gets another id.
    repository.mark_proved(&place.work, "matrix", &first.id).unwrap();
    let second = repository.backup_tagged(&place.work, &stage, &before, &[]).unwrap();
    assert!(second.unchanged > 0, "its files are still compared with: {second:?}");
    repository.complete(&place.work, "matrix", &second.id).unwrap();

    stage.stored(&second.id).unwrap();
    let before = repository.begin(&place.work, "matrix").unwrap();
    repository.remove(&place.work, &second.id).unwrap();
    let third = repository.backup_tagged(&place.work, &stage, &before, &[]).unwrap();
    assert_eq!(third.unchanged, 0, "{third:?}");
    repository.complete(&place.work, "matrix", &third.id).unwrap();
    let stored = repository.snapshots(&place.work, "matrix").unwrap();
    assert_eq!(stored.iter().map(|one| &one.id).collect::<Vec<_>>()[1..], [&third.id]);
}
