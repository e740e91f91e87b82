//! `state.directory_*`: folders of many small and of a few large files, against
//! `rsync -a`. Capture is from a folder to a stage, restore from a stage to a folder;
//! ours digests every byte meanwhile, and a restore of ours is on the disk when it ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fedi_state::Work;

use super::place::{Place, clear};
use super::task::{StateTask, What};
use super::{LEAST, ROUNDS, Rounds, data, ours, theirs};
use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &[
    "state.directory_small_capture_ratio",
    "state.directory_small_restore_ratio",
    "state.directory_large_capture_ratio",
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
    if Work::default().tools.find("rsync").is_none() {
        return Err(NotHere("rsync is not installed".to_owned()).into());
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

fn compare(place: &Place, name: &str) -> Result<[Measurement; 2]> {
    let (source, stage, plain) = (place.path("source"), place.path("stage"), place.path("plain"));
    let (mut capture, mut restore) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        clear(&stage)?;
        clear(&plain)?;
        let task = StateTask::Capture { what: What::Directory(source.clone()), stage: stage.clone() };
        capture.add(|| ours(task), || theirs("rsync", || rsync(&source, &plain)))?;
        let (there, plain_there) = (place.cleared("target")?, place.cleared("plain-target")?);
        let task = StateTask::Restore { what: What::Directory(there), stage: stage.clone() };
        restore.add(|| ours(task), || theirs("rsync", || rsync(&plain, &plain_there)))?;
    }
    Ok([
        capture.speed(&format!("state.directory_{name}_capture_ratio"), "rsync -a", Some(LEAST)),
        restore.speed(&format!("state.directory_{name}_restore_ratio"), "rsync -a", Some(LEAST)),
    ])
}

fn rsync(from: &Path, to: &PathBuf) -> Result<()> {
    let status = Command::new("rsync").arg("-a").arg(from.join("")).arg(to).status().context("Failed to run rsync")?;
    if !status.success() {
        bail!("rsync ended with {status}");
    }
    Ok(())
}
