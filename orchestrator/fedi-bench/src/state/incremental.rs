//! `state.incremental_*`: a second backup after one file in a hundred changed, over the
//! first. A backup is all that a guest does for it, from looking at the folders to looking
//! at them again after restic has stored them. `_ratio` is of the data of
//! `state.directory_*`, small and large together; `_media_ratio` of files as large as
//! pictures and thumbnails are. In both, every folder of a hundred files has one that
//! changed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fedi_state::Work;

use super::data::{self, Noise};
use super::directory::{LARGE_BYTES, LARGE_FILE, LARGEST, SMALL_FILES, SMALLEST};
use super::ours;
use super::place::Place;
use super::task::StateTask;
use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &["state.incremental_ratio", "state.incremental_media_ratio"];

const MOST: f64 = 0.1;
/// One file in so many changes.
const CHANGED: usize = 100;
const MEDIA_FILES: u64 = 20_000;
/// Sizes of media files, bytes.
const MEDIA_SMALLEST: u64 = 32 << 10;
const MEDIA_LARGEST: u64 = 512 << 10;

/// Measures both.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    if Work::default().tools.find("restic").is_none() {
        return Err(NotHere("restic is not installed".to_owned()).into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NotHere("storing a folder where it lies needs root".to_owned()).into());
    }
    let mut measured = Vec::new();
    if options.wants(NAMES[0]) {
        let place = Place::new()?;
        let (small, large) = (place.path("small"), place.path("large"));
        let each = options.amount(LARGE_FILE);
        let files = Many { count: options.amount(SMALL_FILES), smallest: SMALLEST, largest: LARGEST };
        files.make(&small)?;
        data::large(&large, options.amount(LARGE_BYTES), each)?;
        measured.push(ratio(NAMES[0], &place, &[small.clone(), large.clone()], || {
            files.change(&small)?;
            Noise::new(1 << 40).file(&large.join("000.bin"), each)
        })?);
    }
    if options.wants(NAMES[1]) {
        let place = Place::new()?;
        let media = place.path("media");
        let files = Many { count: options.amount(MEDIA_FILES), smallest: MEDIA_SMALLEST, largest: MEDIA_LARGEST };
        files.make(&media)?;
        measured.push(ratio(NAMES[1], &place, std::slice::from_ref(&media), || files.change(&media))?);
    }
    Ok(measured)
}

/// Files of one folder.
struct Many {
    count: u64,
    smallest: u64,
    largest: u64,
}

impl Many {
    fn make(&self, folder: &Path) -> Result<()> {
        data::many(folder, self.count, self.smallest, self.largest)
    }

    fn change(&self, folder: &Path) -> Result<()> {
        let mut changed = (0..self.count).step_by(CHANGED);
        changed.try_for_each(|number| data::one_of_many(folder, number, self.smallest, self.largest, 1))
    }
}

fn ratio(name: &str, place: &Place, folders: &[PathBuf], change: impl FnOnce() -> Result<()>) -> Result<Measurement> {
    let backup = || {
        let (stage, repository) = (place.path("stage"), place.path("repository"));
        ours(StateTask::Backup { folders: folders.to_vec(), stage, repository })
    };
    let first = backup()?;
    change()?;
    let second = backup()?;
    let note = format!("{second:.2} s; the first: {first:.2} s");
    Ok(Measurement::against(name, second / first, "ratio", 1.0, MOST).noting(note))
}
