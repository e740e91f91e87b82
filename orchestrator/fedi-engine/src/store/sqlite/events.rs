//! Events as rows, each chained to the one before by its checksum.

use fedi_model::run::{RunEvent, RunId, RunRecord};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::{Failed, parse, signed, unsigned};
use crate::store::StoreError;

pub(super) type Sum = [u8; 32];

/// What the chain of every run begins with.
pub(super) const NO_SUM: Sum = [0; 32];

/// An event as it is stored.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) json: String,
}

impl Row {
    pub(super) fn new(record: &RunRecord) -> Result<Self, Failed> {
        let json = serde_json::to_string(&record.event)
            .map_err(|error| Failed::Sql(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))?;
        Ok(Self { seq: record.seq, at: record.at.to_string(), json })
    }

    /// The checksum of this row after the one with `before`.
    pub(super) fn sum(&self, run: RunId, before: &Sum) -> Sum {
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update(run.0.to_be_bytes());
        hash.update(self.seq.to_be_bytes());
        hash.update((self.at.len() as u64).to_be_bytes());
        hash.update(&self.at);
        hash.update(&self.json);
        hash.finalize().into()
    }

    pub(super) fn insert(&self, connection: &Connection, run: RunId, sum: &Sum) -> Result<(), Failed> {
        connection
            .prepare_cached("INSERT INTO event (run, seq, at, json, sum) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![signed(run.0), signed(self.seq), self.at, self.json, sum])?;
        Ok(())
    }

    fn record(&self, run: RunId) -> Result<RunRecord, Failed> {
        let at: Timestamp = parse(&self.at, || format!("the time of event {} of run {run}", self.seq))?;
        let event: RunEvent = serde_json::from_str(&self.json)
            .map_err(|error| Failed::Damaged(format!("event {} of run {run} cannot be read: {error}", self.seq)))?;
        Ok(RunRecord { seq: self.seq, at, event })
    }
}

/// A run's whole journal, each event held against its checksum and the last one
/// against the run.
pub(super) fn records(connection: &Connection, run: RunId) -> Result<Vec<RunRecord>, Failed> {
    let of_run = connection
        .prepare_cached("SELECT events, head FROM run WHERE id = ?")?
        .query_row([signed(run.0)], |row| Ok((unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    let Some((events, head)) = of_run else {
        return Err(StoreError::NoRun(run).into());
    };
    let mut records = Vec::with_capacity(usize::try_from(events).unwrap_or_default().min(10_000));
    let mut before = NO_SUM;
    let mut statement = connection.prepare_cached("SELECT seq, at, json, sum FROM event WHERE run = ? ORDER BY seq")?;
    let mut rows = statement.query([signed(run.0)])?;
    while let Some(row) = rows.next()? {
        let expected = records.len() as u64;
        let damaged = |what: &str| Failed::Damaged(format!("event {expected} of run {run} {what}"));
        let read = (|| Ok::<_, rusqlite::Error>((unsigned(row.get(0)?), row.get(1)?, row.get(2)?, row.get(3)?)))();
        let Ok((seq, at, json, sum)) = read else {
            return Err(damaged("cannot be read"));
        };
        let (row, sum): (Row, Vec<u8>) = (Row { seq, at, json }, sum);
        if seq != expected {
            return Err(damaged("is missing"));
        }
        let computed = row.sum(run, &before);
        if sum != computed {
            return Err(damaged("does not match its checksum"));
        }
        records.push(row.record(run)?);
        before = computed;
    }
    if records.len() as u64 != events || before.as_slice() != head {
        return Err(Failed::Damaged(format!(
            "the journal of run {run} has {} events, the last of which is not event {}",
            records.len(),
            events.saturating_sub(1)
        )));
    }
    Ok(records)
}
