//! Runs: beginning, appending, listing.

use async_trait::async_trait;
use fedi_model::name::DeploymentName;
use fedi_model::plan::Plan;
use fedi_model::run::{RunEvent, RunId, RunPhase, RunRecord};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::events::{self, NO_SUM, Sum};
use super::{Failed, SqliteStore, lease, ledger, parse, signed, unsigned};
use crate::store::{Append, Fence, RunRow, RunStore, StoreError};

#[async_trait]
impl RunStore for SqliteStore {
    async fn create_run(&self, fence: Fence, plan: &Plan, at: Timestamp) -> Result<RunId, StoreError> {
        let plan = plan.clone();
        self.append_row("begin a run", move |transaction| {
            lease::check(transaction, fence)?;
            if let Some(run) = open_run(transaction, &plan)? {
                return Err(StoreError::Unfinished { run, deployment: plan.deployment }.into());
            }
            let run = next_id(transaction)?;
            let (workflow, deployment, host) = (word(&plan.workflow), plan.deployment.clone(), plan.host.clone());
            let record = RunRecord { seq: 0, at, event: RunEvent::Planned { plan: Box::new(plan) } };
            let row = events::Row::new(&record)?;
            let sum = row.sum(run, &NO_SUM);
            transaction
                .prepare_cached(
                    "INSERT INTO run (id, workflow, deployment, host, phase, started, updated, events, head) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)",
                )?
                .execute(params![
                    signed(run.0),
                    workflow,
                    deployment.as_str(),
                    host.as_str(),
                    word(&RunPhase::Forward),
                    row.at,
                    row.at,
                    sum
                ])?;
            row.insert(transaction, run, &sum)?;
            Ok(run)
        })
        .await
    }

    async fn append(&self, append: Append<'_>) -> Result<(), StoreError> {
        let Append { fence, run, record, phase, ledger } = append;
        let (record, ledger) = (record.clone(), ledger.clone());
        self.append_row("append an event", move |transaction| {
            lease::check(transaction, fence)?;
            let head = head(transaction, run, record.seq)?;
            let row = events::Row::new(&record)?;
            let sum = row.sum(run, &head);
            row.insert(transaction, run, &sum)?;
            transaction
                .prepare_cached("UPDATE run SET phase = ?, over = ?, updated = ?, events = ?, head = ? WHERE id = ?")?
                .execute(params![word(&phase), phase.is_over(), row.at, signed(record.seq + 1), sum, signed(run.0)])?;
            ledger::change(transaction, run, &row.at, &ledger)?;
            if phase.is_over() {
                ledger::settle(transaction, run)?;
            }
            Ok(())
        })
        .await
    }

    async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read("list runs", |connection| list(connection, "ORDER BY id DESC", [])).await
    }

    async fn runs_of(&self, deployment: &DeploymentName) -> Result<Vec<RunRow>, StoreError> {
        let deployment = deployment.to_string();
        self.read("list runs", move |connection| {
            list(connection, "WHERE deployment = ? ORDER BY id DESC", [deployment])
        })
        .await
    }

    async fn open_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read("list runs", |connection| list(connection, "WHERE over = 0 ORDER BY id", [])).await
    }

    async fn records(&self, run: RunId) -> Result<Vec<RunRecord>, StoreError> {
        self.read("read a journal", move |connection| events::records(connection, run)).await
    }
}

/// The names of all runs.
pub(super) fn all_ids(connection: &Connection) -> Result<Vec<RunId>, Failed> {
    let mut statement = connection.prepare("SELECT id FROM run ORDER BY id")?;
    let ids = statement.query_map([], |row| Ok(RunId(unsigned(row.get(0)?))))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn open_run(connection: &Connection, plan: &Plan) -> Result<Option<RunId>, Failed> {
    Ok(connection
        .prepare_cached("SELECT id FROM run WHERE deployment = ? AND over = 0")?
        .query_row([plan.deployment.as_str()], |row| Ok(RunId(unsigned(row.get(0)?))))
        .optional()?)
}

fn next_id(connection: &Connection) -> Result<RunId, Failed> {
    let last: i64 = connection.query_row("SELECT coalesce(max(id), 0) FROM run", [], |row| row.get(0))?;
    Ok(RunId(unsigned(last) + 1))
}

/// The checksum that the event with number `seq` follows.
fn head(connection: &Connection, run: RunId, seq: u64) -> Result<Sum, Failed> {
    let found = connection
        .prepare_cached("SELECT events, head FROM run WHERE id = ?")?
        .query_row([signed(run.0)], |row| Ok((unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    let Some((expected, head)) = found else {
        return Err(StoreError::NoRun(run).into());
    };
    if seq != expected {
        return Err(StoreError::Sequence { run, expected, got: seq }.into());
    }
    head.try_into().map_err(|_| Failed::Damaged(format!("the last checksum of run {run} has the wrong length")))
}

fn list(connection: &Connection, which: &str, values: impl rusqlite::Params) -> Result<Vec<RunRow>, Failed> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, workflow, deployment, host, phase, started, updated, events FROM run {which}"
    ))?;
    let mut rows = statement.query(values)?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(run_row(row)?);
    }
    Ok(runs)
}

fn run_row(row: &Row<'_>) -> Result<RunRow, Failed> {
    let id = RunId(unsigned(row.get(0)?));
    let text = |column: usize| row.get::<_, String>(column);
    let what = |name: &'static str| move || format!("the {name} of run {id}");
    Ok(RunRow {
        id,
        workflow: from_word(&text(1)?, what("workflow"))?,
        deployment: parse(&text(2)?, what("deployment"))?,
        host: parse(&text(3)?, what("host"))?,
        phase: from_word(&text(4)?, what("phase"))?,
        started: parse(&text(5)?, what("start"))?,
        updated: parse(&text(6)?, what("last change"))?,
        events: unsigned(row.get(7)?),
    })
}

/// The word that serde writes for a variant without fields.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn from_word<T: DeserializeOwned>(word: &str, what: impl FnOnce() -> String) -> Result<T, Failed> {
    serde_json::from_value(word.into()).map_err(|_| Failed::Damaged(format!("{} cannot be read: `{word}`", what())))
}
