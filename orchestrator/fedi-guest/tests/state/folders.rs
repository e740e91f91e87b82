//! Folders, which are stored where they lie: what a capture needs, reads and leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fedi_guest::protocol::{ErrorKind, RepositoryAccess};
use fedi_model::state::Consistency::{DumpThenFiles, Quiesced};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use crate::machine::{Machine, PASSWORD, captures, repository, restores};

/// Bytes that do not compress and are not alike.
fn noise(bytes: u32) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

/// Ids of all that the repository has, but of marks.
fn stored(repository: &RepositoryAccess) -> Vec<String> {
    let mut restic = Command::new("restic");
    restic.args(["--no-cache", "snapshots", "--json", "--repo", &repository.location]).env("RESTIC_PASSWORD", PASSWORD);
    let output = restic.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let is_mark = |one: &&serde_json::Value| one["tags"].as_array().unwrap().iter().any(|tag| tag == "mark");
    found.iter().filter(|one| !is_mark(one)).map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// The real restic; `before` and `after` are done around a backup.
fn restic_that(machine: &Machine, before: &str, after: &str) {
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' backup '*) {before} ;; esac\n/usr/bin/restic \"$@\" || exit $?\ncase \" $* \" in \
         *' backup '*) {after} ;; esac\n"
    );
    machine.tool("restic", &script);
}

#[test]
fn a_second_capture_stores_only_what_changed() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.write("/var/lib/toy/video", &noise(3 << 20));
    source.sql("toy", "CREATE TABLE big AS SELECT sha512(i::text::bytea) AS noise FROM generate_series(1, 20000) AS i");
    let first = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert!(first.new_bytes > 4 << 20, "{}", first.new_bytes);
    source.write("/var/lib/toy/another", b"a new one");
    source.sql("toy", "INSERT INTO notes VALUES (7)");
    let second = source.call(captures(&repository, DumpThenFiles, "two")).unwrap();
    assert!(second.bytes > first.bytes && second.new_bytes < 200_000, "{}", second.new_bytes);
    // Only root looks into what is known of files.
    let digests = source.path("/var/lib/fedi/digests");
    assert_eq!(digests.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    // Lost, it is of no consequence.
    fs::remove_dir_all(digests).unwrap();
    let third = source.call(captures(&repository, DumpThenFiles, "three")).unwrap();
    assert!(third.bytes > 4 << 20 && third.new_bytes < 200_000, "{}", third.new_bytes);
    let target = Machine::dormant("1.5").unwrap();
    target.call(restores(&repository, &third)).unwrap();
    assert_eq!(fs::read(target.path("/var/lib/toy/another")).unwrap(), b"a new one");
    assert!(fs::read(target.path("/var/lib/toy/video")).unwrap() == noise(3 << 20));
}

#[test]
fn a_capture_needs_no_room_for_a_second_copy() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.write("/var/lib/toy/video", &noise(24 << 20));
    let stage = source.path("/var/lib/fedi/stage");
    fs::create_dir_all(&stage).unwrap();
    // Enough for the database.
    mount("tmpfs", &stage, "tmpfs", MountFlags::empty(), Some(c"size=20m,mode=0711")).unwrap();
    let captured = source.call(captures(&repository, DumpThenFiles, "one"));
    unmount(&stage, UnmountFlags::DETACH).unwrap();
    assert!(captured.unwrap().bytes > 24 << 20);
}

#[test]
fn a_quiesced_capture_of_what_moves_is_none() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.stop();
    let picture = source.path("/var/lib/toy/picture");
    let write = format!("echo other >{}", picture.display());
    for (before, after) in [(write.as_str(), ":"), (":", write.as_str())] {
        restic_that(&source, before, after);
        let (kind, message) = source.refuses(captures(&repository, Quiesced, "one"));
        assert_eq!(kind, ErrorKind::Changed, "{message}");
        assert!(message.contains("/var/lib/toy/picture"), "{message}");
        assert_eq!(stored(&repository), Vec::<String>::new());
        assert!(source.has_no_stage());
        source.write("/var/lib/toy/picture", b"a picture");
    }
    source.no_tool("restic");
    let captured = source.call(captures(&repository, Quiesced, "one")).unwrap();
    assert_eq!(stored(&repository), std::slice::from_ref(&captured.snapshot));
    // Found again, also under the name that it has once it was marked.
    let again = source.call(captures(&repository, Quiesced, "one")).unwrap();
    assert_eq!((&again.snapshot, again.new_bytes), (&captured.snapshot, 0));
}

#[test]
fn what_cannot_be_removed_is_not_taken_for_good() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.stop();
    // As a repository that only takes additions.
    let script = "#!/bin/sh\ncase \" $* \" in *' forget '*) echo 'not permitted' >&2; exit 1 ;; esac\n\
                  /usr/bin/restic \"$@\" || exit $?\ncase \" $* \" in *' backup '*) echo other >PICTURE ;; esac\n";
    source.tool("restic", &script.replace("PICTURE", &source.path("/var/lib/toy/picture").display().to_string()));
    assert_eq!(source.refuses(captures(&repository, Quiesced, "one")).0, ErrorKind::Changed);
    let left = stored(&repository);
    assert_eq!(left.len(), 1);
    source.no_tool("restic");
    let captured = source.call(captures(&repository, Quiesced, "one")).unwrap();
    assert_ne!(captured.snapshot, left[0]);
    let target = Machine::dormant("1.5").unwrap();
    target.call(restores(&repository, &captured)).unwrap();
    assert_eq!(fs::read(target.path("/var/lib/toy/picture")).unwrap(), b"other\n");
}

#[test]
fn a_capture_of_what_moves_comes_back() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    source.write("/var/lib/toy/log", b"one line\n");
    source.write("/var/lib/toy/passing", b"soon gone");
    let toy = source.path("/var/lib/toy").display().to_string();
    restic_that(&source, &format!("echo another >>{toy}/log; rm {toy}/passing; echo x >{toy}/later"), ":");
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    let target = Machine::dormant("1.5").unwrap();
    let restored = target.call(restores(&repository, &captured)).unwrap();
    let notes = &restored.items[0].notes;
    assert!(notes.len() == 1 && notes[0].starts_with("2 entries"), "{notes:?}");
    assert_eq!(fs::read(target.path("/var/lib/toy/log")).unwrap(), b"one line\nanother\n");
    assert!(!target.path("/var/lib/toy/passing").exists());
}

#[test]
fn what_a_killed_agent_left_is_removed_without_the_source() {
    let Some(source) = Machine::with_application() else { return };
    let (_folder, repository) = repository();
    let tree = source.path("/var/lib/fedi/stage/toy/items/media/tree");
    fs::create_dir_all(&tree).unwrap();
    std::os::unix::fs::symlink(source.path("/var/lib/toy"), tree.parent().unwrap().join("link")).unwrap();
    // A mount that everybody sees is none of ours; it is not followed either.
    mount_bind(source.path("/var/lib/toy"), &tree).unwrap();
    let refused = source.refuses(captures(&repository, DumpThenFiles, "one"));
    unmount(&tree, UnmountFlags::DETACH).unwrap();
    assert!(refused.1.contains("mounted"), "{refused:?}");
    assert_eq!(fs::read(source.path("/var/lib/toy/picture")).unwrap(), b"a picture");
    source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(fs::read(source.path("/var/lib/toy/picture")).unwrap(), b"a picture");
    assert!(source.has_no_stage() && Path::new(&source.path("/var/lib/toy/cache/thumbnail")).exists());
}
