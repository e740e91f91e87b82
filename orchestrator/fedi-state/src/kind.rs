//! The one trait behind which every kind of state stands.

use std::collections::BTreeMap;

use crate::error::StateError;
use crate::snapshot::{Consistency, Observed};
use crate::stage::ItemStage;
use crate::work::Work;

/// What a round of [`Kind::presync`] moved; rounds go on until it is small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    /// Bytes that this round had to move.
    pub bytes: u64,
    /// Files or objects that this round had to move or remove.
    pub count: u64,
}

/// What a verification looked at and found equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In words, one line a check: `41 tables have the recorded row counts`.
    pub checks: Vec<String>,
    /// Worth knowing, no failure: `amcheck is not installed`.
    pub notes: Vec<String>,
}

/// What is in a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// In words: `171 tables`.
    pub what: String,
    /// Its size, as far as that is known.
    pub bytes: u64,
}

/// A kind of state. Every verb can be called again after it was cut off anywhere.
pub trait Kind {
    /// Brings most of the data into the stage while the application runs.
    fn presync(&self, _work: &Work, _stage: &ItemStage) -> Result<Delta, StateError> {
        Ok(Delta::default())
    }

    /// Brings the state into the stage and says what it observed. The source is
    /// only read. With [`Consistency::Quiesced`] a source that moves is an error.
    fn capture(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<Observed, StateError>;

    /// Once the stage is stored: looks whether what it shows of the source is what was
    /// captured. How many entries moved meanwhile; with [`Consistency::Quiesced`] one that
    /// did is an error.
    fn settle(&self, _work: &Work, _stage: &ItemStage, _consistency: Consistency) -> Result<u64, StateError> {
        Ok(0)
    }

    /// Refuses a place that could not take the state: an older server, another collation.
    /// Asked of every item before the first is touched; [`Kind::restore`] asks again.
    fn fits(&self, _work: &Work, _observed: &Observed) -> Result<(), StateError> {
        Ok(())
    }

    /// Brings the state from the stage to its place, which must be empty. What was
    /// restored completely before is left alone; on a failure the place is as it was.
    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError>;

    /// Compares what is at the place with what was observed. Before the application starts.
    fn verify(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<Report, StateError>;

    /// What is in its place; `None` where a restore finds it empty.
    fn contents(&self, work: &Work) -> Result<Option<Contents>, StateError>;

    /// Empties its place, so that a restore finds it empty. What is in it is gone.
    fn clear(&self, work: &Work) -> Result<(), StateError>;

    /// Who else is using it, in words; nobody where the kind cannot tell.
    fn users(&self, _work: &Work) -> Result<Vec<String>, StateError> {
        Ok(Vec::new())
    }

    /// Entries of queued work, by prefix of the contract.
    fn queued(&self, _work: &Work) -> Result<BTreeMap<String, u64>, StateError> {
        Ok(BTreeMap::new())
    }
}
