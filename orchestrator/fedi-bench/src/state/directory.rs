//! `state.directory_*`: folders of many small and of a few large files. A capture makes no
//! copy, so that it is measured as a whole backup: every file is digested and stored by
//! restic into a new repository on the same disk. Against `rsync -a` of the folder, which
//! neither digests nor encrypts, and against `restic backup` of the folder, which does not
//! digest. Restore is from a fetched stage to a folder against `rsync -a`; ours checks
//! every byte meanwhile, and is on the disk when it ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fedi_state::Work;

use super::place::{Place, clear};
use super::task::{PASSWORD, StateTask, What};
use super::{LEAST, ROUNDS, Rounds, data, ours, theirs};
use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &[
    "state.directory_small_capture_ratio",
    "state.directory_small_stored_ratio",
    "state.directory_small_restore_ratio",
    "state.directory_large_capture_ratio",
    "state.directory_large_stored_ratio",
    "state.directory_large_restore_ratio",
];

pub(crate) const SMALL_FILES: u64 = 100_000;
/// Sizes of small files, bytes.
pub(crate) const SMALLEST: u64 = 512;
pub(crate) const LARGEST: u64 = 8 << 10;
pub(crate) const LARGE_BYTES: u64 = 2 << 30;
/// Size of a large file, bytes: a hundredth of all.
pub(crate) const LARGE_FILE: u64 = LARGE_BYTES.div_ceil(100);

/// Measures both.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    for tool in ["rsync", "restic"] {
        if Work::default().tools.find(tool).is_none() {
            return Err(NotHere(format!("{tool} is not installed")).into());
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NotHere("storing a folder where it lies needs root".to_owned()).into());
    }
    let mut measured = Vec::new();
    if options.wants("state.directory_small") {
        let place = Place::new()?;
        data::many(&place.path("source"), options.amount(SMALL_FILES), SMALLEST, LARGEST)?;
        measured.extend(compare(&place, "small")?);
    }
    if options.wants("state.directory_large") {
        let place = Place::new()?;
        data::large(&place.path("source"), options.amount(LARGE_BYTES), options.amount(LARGE_FILE))?;
        measured.extend(compare(&place, "large")?);
    }
    Ok(measured)
}

fn compare(place: &Place, name: &str) -> Result<[Measurement; 3]> {
    let (source, stage, plain) = (place.path("source"), place.path("stage"), place.path("plain"));
    let (mut capture, mut stored, mut restore) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        for folder in [&stage, &plain] {
            clear(folder)?;
        }
        let repository = new_repository(place, "repository")?;
        let (folders, into) = (vec![source.clone()], stage.clone());
        let task = StateTask::Backup { folders, stage: into, repository: repository.clone() };
        capture.add(|| ours(task), || theirs("rsync", || rsync(&source, &plain)))?;
        let alone = new_repository(place, "restic")?;
        restic(&alone, &["init"])?;
        stored.theirs.push(theirs("restic", || restic(&alone, &["backup", &source.display().to_string()]))?);

        ours(StateTask::Fetch { stage: stage.clone(), repository })?;
        let (there, plain_there) = (place.cleared("target")?, place.cleared("plain-target")?);
        let task = StateTask::Restore { what: What::Directory(there), stage: stage.clone() };
        restore.add(|| ours(task), || theirs("rsync", || rsync(&plain, &plain_there)))?;
    }
    stored.ours.clone_from(&capture.ours);
    Ok([
        capture.speed(&format!("state.directory_{name}_capture_ratio"), "rsync -a", Some(LEAST)),
        stored.speed(&format!("state.directory_{name}_stored_ratio"), "restic backup", None),
        restore.speed(&format!("state.directory_{name}_restore_ratio"), "rsync -a", Some(LEAST)),
    ])
}

/// A place for a repository, with nothing of an earlier one beside it.
fn new_repository(place: &Place, name: &str) -> Result<PathBuf> {
    for beside in ["cache", "digests"] {
        place.cleared(&format!("{name}.{beside}"))?;
    }
    place.cleared(name)
}

fn restic(repository: &Path, words: &[&str]) -> Result<()> {
    let mut restic = Command::new("restic");
    restic.args(["--quiet", "--repo"]).arg(repository).arg("--cache-dir").arg(repository.with_extension("cache"));
    let status = restic.args(words).env("RESTIC_PASSWORD", PASSWORD).status().context("Failed to run restic")?;
    if !status.success() {
        bail!("restic ended with {status}");
    }
    Ok(())
}

fn rsync(from: &Path, to: &PathBuf) -> Result<()> {
    let status = Command::new("rsync").arg("-a").arg(from.join("")).arg(to).status().context("Failed to run rsync")?;
    if !status.success() {
        bail!("rsync ended with {status}");
    }
    Ok(())
}
