//! `state.incremental_ratio`: a second backup after one file in a hundred changed, over
//! the first. A backup is all that a guest does for it, from looking at the folders to
//! looking at them again after restic has stored them; the data are those of
//! `state.directory_*`, small and large together.

use anyhow::Result;
use fedi_state::Work;

use super::data::{self, Noise};
use super::directory::{LARGE_BYTES, LARGE_FILE, LARGEST, SMALL_FILES, SMALLEST};
use super::ours;
use super::place::Place;
use super::task::StateTask;
use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &["state.incremental_ratio"];

const MOST: f64 = 0.1;

/// Measures it.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    if Work::default().tools.find("restic").is_none() {
        return Err(NotHere("restic is not installed".to_owned()).into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NotHere("storing a folder where it lies needs root".to_owned()).into());
    }
    let place = Place::new()?;
    let (small, large) = (place.path("small"), place.path("large"));
    let (files, bytes, each) = (options.amount(SMALL_FILES), options.amount(LARGE_BYTES), options.amount(LARGE_FILE));
    data::many(&small, files, SMALLEST, LARGEST)?;
    data::large(&large, bytes, each)?;
    let backup = || {
        let folders = vec![small.clone(), large.clone()];
        ours(StateTask::Backup { folders, stage: place.path("stage"), repository: place.path("repository") })
    };
    let first = backup()?;
    for number in (0..files).step_by(100) {
        data::one_of_many(&small, number, SMALLEST, LARGEST, 1)?;
    }
    Noise::new(1 << 40).file(&large.join("000.bin"), each)?;
    let second = backup()?;
    let note = format!("{second:.2} s; the first: {first:.2} s");
    let figure = Measurement::against(NAMES[0], second / first, "ratio", 1.0, MOST);
    Ok(vec![figure.noting(note)])
}
