//! The ledger: layers of what steps made.

use async_trait::async_trait;
use fedi_model::name::DeploymentName;
use fedi_model::plan::StepId;
use fedi_model::resource::{Resource, ResourceId};
use fedi_model::run::{LedgerChange, RunId};
use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::{Failed, SqliteStore, parse, signed, unsigned};
use crate::store::{LedgerEntry, LedgerStore, StoreError};

const COLUMNS: &str = "id, run, at, json, sum";

#[async_trait]
impl LedgerStore for SqliteStore {
    async fn ledger_entry(&self, id: &ResourceId) -> Result<Option<LedgerEntry>, StoreError> {
        let id = id.as_str().to_owned();
        self.read("read the ledger", move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM ledger WHERE id = ? ORDER BY layer DESC LIMIT 1");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([id])?;
            rows.next()?.map_or(Ok(None), entry)
        })
        .await
    }

    async fn ledger(&self, deployment: Option<&DeploymentName>) -> Result<Vec<LedgerEntry>, StoreError> {
        let deployment = deployment.map(|name| name.as_str().to_owned());
        self.read("read the ledger", move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM ledger AS top WHERE (?1 IS NULL OR deployment = ?1) AND layer = \
                 (SELECT max(layer) FROM ledger WHERE id = top.id) ORDER BY id"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([deployment])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.extend(entry(row)?);
            }
            Ok(entries)
        })
        .await
    }
}

/// Carries out what an event does to the ledger.
pub(super) fn change(connection: &Connection, run: RunId, at: &str, change: &LedgerChange) -> Result<(), Failed> {
    match change {
        LedgerChange::None => Ok(()),
        LedgerChange::Reverted { step } => {
            connection
                .prepare_cached("DELETE FROM ledger WHERE run = ? AND step = ?")?
                .execute(params![signed(run.0), step.as_str()])?;
            Ok(())
        }
        LedgerChange::Made { step, resource } => {
            let json = serde_json::to_string(resource)
                .map_err(|error| Failed::Sql(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))?;
            let deployment = resource.deployment().map(DeploymentName::as_str);
            lay(connection, run, step, at, resource.id().as_str(), deployment, Some(&json))
        }
        LedgerChange::Gone { step, resource, along } => {
            for id in along {
                connection.prepare_cached("DELETE FROM ledger WHERE id = ?")?.execute([id.as_str()])?;
            }
            lay(connection, run, step, at, resource.as_str(), None, None)
        }
    }
}

fn lay(
    connection: &Connection,
    run: RunId,
    step: &StepId,
    at: &str,
    id: &str,
    deployment: Option<&str>,
    json: Option<&str>,
) -> Result<(), Failed> {
    let sum = sum(id, run, at, json);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO ledger (id, deployment, run, step, at, json, sum) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![id, deployment, signed(run.0), step.as_str(), at, json, sum])?;
    Ok(())
}

/// Drops the layers that nothing can come back to, once `run` is over.
pub(super) fn settle(connection: &Connection, run: RunId) -> Result<(), Failed> {
    connection
        .prepare_cached(
            "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE run = ?1) \
             AND (SELECT over FROM run WHERE run.id = ledger.run) \
             AND EXISTS (SELECT 1 FROM ledger AS above JOIN run ON run.id = above.run \
                         WHERE above.id = ledger.id AND above.layer > ledger.layer AND run.over)",
        )?
        .execute([signed(run.0)])?;
    connection
        .prepare_cached(
            "DELETE FROM ledger WHERE json IS NULL AND run = ?1 \
             AND NOT EXISTS (SELECT 1 FROM ledger AS other WHERE other.id = ledger.id AND other.layer != ledger.layer)",
        )?
        .execute([signed(run.0)])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> Result<Option<LedgerEntry>, Failed> {
    let id: String = row.get(0)?;
    let run = RunId(unsigned(row.get(1)?));
    let at: String = row.get(2)?;
    let json: Option<String> = row.get(3)?;
    let stored: Vec<u8> = row.get(4)?;
    if stored != sum(&id, run, &at, json.as_deref()) {
        return Err(Failed::Damaged(format!("the ledger's entry `{id}` does not match its checksum")));
    }
    let Some(json) = json else { return Ok(None) };
    let resource: Resource = serde_json::from_str(&json)
        .map_err(|error| Failed::Damaged(format!("the ledger's entry `{id}` cannot be read: {error}")))?;
    let at = parse(&at, || format!("the time of the ledger's entry `{id}`"))?;
    Ok(Some(LedgerEntry { resource, run, at }))
}

fn sum(id: &str, run: RunId, at: &str, json: Option<&str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [id, at, json.unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(run.0.to_be_bytes());
    hash.finalize().into()
}
