//! Captures that fail: an error that says what and what to do, the application as it was,
//! nothing in the repository that looks like a snapshot; and it works once the cause is gone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedi_guest::agent;
use fedi_guest::protocol::{ErrorKind, RepositoryAccess, SecretValue};
use fedi_model::state::Consistency::{DumpThenFiles, Quiesced};

use crate::machine::{Machine, captures, repository, until};
use crate::seen::{SmallDisk, noise, restic, snapshots, succeeds};

/// That the same request succeeds now, and stores one snapshot.
fn works_again(source: &Machine, repository: &RepositoryAccess, run: &str) {
    let before = snapshots(repository);
    let captured = source.call(captures(repository, DumpThenFiles, run)).unwrap();
    let after = snapshots(repository);
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.contains(&captured.snapshot) && !before.contains(&captured.snapshot));
    succeeds(restic(repository).args(["check", "--read-data"]));
}

#[test]
fn a_dump_that_is_killed_midway() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "good")).unwrap();
    // All of it is written but the table of contents.
    let real = source.postgres("pg_dump");
    let script = format!(
        "#!/bin/sh\nfor word; do case $last in --file) dump=$word;; esac; last=$word; done\n{} \"$@\" && rm \"$dump/toc.dat\"\nkill -9 $$\n",
        real.display()
    );
    source.tool("pg_dump", &script);
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "bad"));
    assert_eq!(error.kind, ErrorKind::ToolFailed, "{error}");
    assert!(error.message.contains("`pg_dump` ended with signal 9"), "{error}");
    source.no_tool("pg_dump");
    works_again(&source, &repository, "bad");
}

#[test]
fn a_disk_that_gets_full_while_it_dumps() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let stages = source.path("/var/lib/fedi/stage");
    let disk = SmallDisk::mount(&stages, "size=64m,mode=0711");
    // Somebody else fills it, after it was asked for room.
    let other = stages.join("other");
    fs::write(&other, "").unwrap();
    fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let real = source.postgres("pg_dump");
    let script = format!("#!/bin/sh\ncat /dev/zero >>{} 2>&-\nexec {} \"$@\"\n", other.display(), real.display());
    source.tool("pg_dump", &script);
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "one"));
    assert_eq!(error.kind, ErrorKind::DiskFull, "{error}");
    fs::remove_file(other).unwrap();
    source.no_tool("pg_dump");
    works_again(&source, &repository, "one");
    drop(disk);
}

#[test]
fn a_full_repository() {
    let Some(source) = Machine::with_application() else { return };
    let (folder, repository) = repository();
    source.write("/var/lib/toy/film", &noise(6 << 20));
    let disk = SmallDisk::mount(&folder.path().join("repository"), "size=3m");
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "one"));
    assert_eq!(error.kind, ErrorKind::DiskFull, "{error}");
    assert!(error.message.contains("has no room left"), "{error}");
    disk.resize("64m");
    works_again(&source, &repository, "one");
    drop(disk);
}

/// Another run that holds a repository for itself alone, and rests.
struct Holder(Child);

impl Holder {
    fn of(repository: &RepositoryAccess) -> Self {
        let folder = std::path::Path::new(&repository.location);
        let index = fs::read_dir(folder.join("index")).unwrap().next().unwrap().unwrap().path();
        fs::rename(&index, folder.join("index-file")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &index, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let null = std::process::Stdio::null;
        let mut check = restic(repository);
        let child = check.arg("check").stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
        // While it is being written it has a longer name.
        let is_lock = |file: fs::DirEntry| file.file_name().len() == 64;
        until("the lock", || fs::read_dir(folder.join("locks")).unwrap().flatten().any(is_lock));
        // It waits for an index file that nobody writes, and does not see that it is back.
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::STOP).unwrap();
        fs::rename(folder.join("index-file"), &index).unwrap();
        Self(child)
    }

    fn crashes(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_repository_that_another_run_has_locked() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    let holder = Holder::of(&repository);
    let pid = holder.0.id();
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "two"));
    assert_eq!(error.kind, ErrorKind::Locked, "{error}");
    assert!(error.message.contains(&format!("PID {pid}")), "{error}");
    let target = Machine::dormant("1.5").unwrap();
    let error = target.untouched(&repository, crate::machine::restores(&repository, &captured));
    assert_eq!(error.kind, ErrorKind::Locked, "{error}");
    holder.crashes();
    // What the crash left is no lock of anybody; the operator removes it.
    succeeds(restic(&repository).arg("unlock"));
    works_again(&source, &repository, "two");
    target.call(crate::machine::restores(&repository, &captured)).unwrap();
}

#[test]
fn a_repository_that_is_not_reached_or_has_another_password() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    let wrong = RepositoryAccess { password: SecretValue::new("another secret"), ..repository.clone() };
    let error = source.untouched(&repository, captures(&wrong, DumpThenFiles, "two"));
    assert_eq!(error.kind, ErrorKind::Password, "{error}");
    assert!(!format!("{error:?}").contains("another secret"));
    let nowhere = RepositoryAccess { location: "rest:http://127.0.0.1:1/".to_owned(), ..repository.clone() };
    let error = source.untouched(&repository, captures(&nowhere, DumpThenFiles, "two"));
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    works_again(&source, &repository, "two");
}

/// Restic is killed when it has sent a part of the data.
#[test]
fn a_transfer_that_is_cut() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "good")).unwrap();
    // More than one of restic's packs, and slowly: there is time between the first and the last.
    source.write("/var/lib/toy/film", &noise(24 << 20));
    let script = format!(
        "#!/bin/sh\nfor word; do if [ \"$word\" = backup ]; then
           packs() {{ find {0}/data -type f | wc -l; }}
           before=$(packs)
           exec 3<&0
           /usr/bin/restic --limit-upload 4096 \"$@\" <&3 & restic=$!
           while [ \"$(packs)\" = \"$before\" ]; do kill -0 $restic || exit 1; sleep 0.1; done
           kill -9 $restic; wait $restic; kill -9 $$
         fi; done\nexec /usr/bin/restic \"$@\"\n",
        repository.location
    );
    source.tool("restic", &script);
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "cut"));
    assert_eq!(error.kind, ErrorKind::ToolFailed, "{error}");
    source.no_tool("restic");
    // What the crash left locked keeps no backup from being made; checking asks for more.
    succeeds(restic(&repository).arg("unlock"));
    works_again(&source, &repository, "cut");
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.write("/var/lib/toy/log", &noise(2 << 20));
    source.stop();
    let stop = Arc::new(AtomicBool::new(false));
    let (seen, path) = (stop.clone(), source.path("/var/lib/toy/log"));
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        while !seen.load(Ordering::Relaxed) {
            file.write_all(b"more").unwrap();
        }
    });
    // On a busy machine the writer may rest for a whole capture.
    let run = |number: u32| {
        let request = captures(&repository, Quiesced, &number.to_string());
        let before = snapshots(&repository);
        let error = agent::call(&source.guest(), request, &mut |_| {}).err()?.reply();
        assert_eq!(snapshots(&repository), before, "{error}");
        Some(error)
    };
    let error = (0..100).find_map(run);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let error = error.unwrap();
    assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    assert!(error.message.contains("/log`") && error.hint.is_some(), "{error:?}");
    assert!(source.has_no_stage());
    // It stands still now.
    source.call(captures(&repository, Quiesced, "still")).unwrap();
}

#[test]
fn a_folder_that_is_not_where_it_was() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "good")).unwrap();
    let (place, private) = (source.path("/var/lib/toy"), source.path("/var/lib/private/toy"));
    fs::create_dir_all(private.parent().unwrap()).unwrap();
    fs::rename(&place, &private).unwrap();
    // As systemd's DynamicUser has it: a link in its place, which is followed.
    symlink("private/toy", &place).unwrap();
    let captured = source.call(captures(&repository, DumpThenFiles, "linked")).unwrap();
    let media = &captured.manifest["items"]["media"]["directory"];
    assert_eq!(media["files"], 1, "{media}");
    assert_eq!(media["resolved"].as_str(), private.to_str(), "{media}");

    // A link that leads nowhere, and nothing at all, are no empty folder.
    let before = snapshots(&repository);
    fs::rename(&private, source.path("/var/lib/private/elsewhere")).unwrap();
    for what in ["a dangling link", "nothing"] {
        let request = captures(&repository, DumpThenFiles, what);
        let error = agent::call(&source.guest(), request, &mut |_| {}).unwrap_err().reply();
        assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Io, true), "{what}: {error:?}");
        assert!(error.message.contains("/var/lib/toy"), "{what}: {error}");
        assert_eq!(snapshots(&repository), before);
        assert_eq!(source.unit("toy.service"), "active");
        assert!(source.has_no_stage());
        if what == "a dangling link" {
            fs::remove_file(&place).unwrap();
        }
    }
}

#[test]
fn an_empty_folder_under_its_floor() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "good")).unwrap();
    fs::remove_file(source.path("/var/lib/toy/picture")).unwrap();
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "bad"));
    assert_eq!(error.kind, ErrorKind::Floor);
    assert!(error.message.contains("/var/lib/toy") && error.message.contains("0 files"), "{error}");
}

#[test]
fn a_missing_identity_secret() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "good")).unwrap();
    fs::remove_file(source.path("/var/lib/fedi/secrets/toy/signing-key")).unwrap();
    let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "bad"));
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(error.message.contains("identity secret `signing-key`"), "{error}");
}

/// What an agent that was killed in the middle has left is no hindrance.
#[test]
fn what_a_killed_agent_left() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.write("/var/lib/fedi/stage/toy/items/db/dump/toc.dat", b"half of it");
    source.write("/var/lib/fedi/stage/toy/items/media/tree/other", b"half of it");
    works_again(&source, &repository, "one");
    assert!(source.has_no_stage());
}
