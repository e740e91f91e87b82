//! The writer lease: one row.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Failed, SqliteStore, parse, signed, unsigned};
use crate::store::{Fence, Holder, LeaseStore, StoreError, WriterLease};

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn lease(&self) -> Result<Option<WriterLease>, StoreError> {
        self.read("read the writer lease", |connection| {
            Ok(row(connection)?.filter(|(held, _)| *held).map(|(_, lease)| lease))
        })
        .await
    }

    async fn acquire(&self, holder: &Holder, now: Timestamp, over: Option<Fence>) -> Result<Fence, StoreError> {
        let holder = holder.clone();
        self.write("take the writer lease", move |transaction| {
            let found = row(transaction)?;
            let last = found.as_ref().map_or(0, |(_, lease)| lease.fence.0);
            if let Some((true, lease)) = found {
                let free =
                    lease.is_expired(now) || lease.holder.instance == holder.instance || over == Some(lease.fence);
                if !free {
                    return Err(StoreError::Held(Box::new(lease)).into());
                }
            }
            transaction.execute(
                "INSERT OR REPLACE INTO lease (one, fence, held, user, machine, pid, process_start, place, instance, \
                 acquired, heartbeat) VALUES (1, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    signed(last + 1),
                    holder.user,
                    holder.machine,
                    holder.pid,
                    holder.process_start.to_string(),
                    holder.place,
                    holder.instance.to_string(),
                    now.to_string(),
                    now.to_string(),
                ],
            )?;
            Ok(Fence(last + 1))
        })
        .await
    }

    async fn heartbeat(&self, fence: Fence, now: Timestamp) -> Result<(), StoreError> {
        self.write("renew the writer lease", move |transaction| {
            check(transaction, fence)?;
            transaction.execute("UPDATE lease SET heartbeat = ?", [now.to_string()])?;
            Ok(())
        })
        .await
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.write("give the writer lease back", move |transaction| {
            transaction.execute("UPDATE lease SET held = 0 WHERE fence = ?", [signed(fence.0)])?;
            Ok(())
        })
        .await
    }
}

/// Refuses a fence that is not the one of the lease.
pub(super) fn check(connection: &Connection, fence: Fence) -> Result<(), Failed> {
    let current = connection
        .prepare_cached("SELECT fence FROM lease WHERE held = 1")?
        .query_row([], |row| Ok(Fence(unsigned(row.get(0)?))))
        .optional()?;
    if current == Some(fence) { Ok(()) } else { Err(StoreError::Stale { fence }.into()) }
}

fn row(connection: &Connection) -> Result<Option<(bool, WriterLease)>, Failed> {
    let mut statement = connection.prepare_cached(
        "SELECT held, fence, user, machine, pid, process_start, place, instance, acquired, heartbeat FROM lease",
    )?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let text = |column: usize| row.get::<_, String>(column);
    let what = || "the writer lease".to_owned();
    let holder = Holder {
        user: text(2)?,
        machine: text(3)?,
        pid: row.get(4)?,
        process_start: parse(&text(5)?, what)?,
        place: text(6)?,
        instance: parse(&text(7)?, what)?,
    };
    let lease = WriterLease {
        fence: Fence(unsigned(row.get(1)?)),
        holder,
        acquired: parse(&text(8)?, what)?,
        heartbeat: parse(&text(9)?, what)?,
    };
    Ok(Some((row.get(0)?, lease)))
}
