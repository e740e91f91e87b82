//! Tables, their versions, and what is refused at opening.

use rusqlite::{Connection, TransactionBehavior};

use super::Failed;

/// Marks a file as fedi's (`PRAGMA application_id`): "fedi".
const APPLICATION: u32 = 0x6665_6469;

/// One entry brings the schema one version further (`PRAGMA user_version`).
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql")];

/// The version that this fedi reads and writes.
pub(super) const VERSION: u32 = 1;

/// Settings that every connection needs, then the schema.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Failed> {
    // In one transaction, for another process may be making the tables right now.
    check(&*connection.transaction()?)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(connection, MIGRATIONS)
}

/// Refuses what this fedi must not write to, before anything is written.
fn check(connection: &Connection) -> Result<(), Failed> {
    let (application, version) = marks(connection)?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(Failed::Foreign);
    }
    if version > VERSION {
        return Err(Failed::Newer(version));
    }
    Ok(())
}

fn marks(connection: &Connection) -> Result<(u32, u32), Failed> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, version))
}

/// Brings the schema to the last of `migrations`, all of them or none.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Failed> {
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if marks(connection)? == (APPLICATION, known) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again: another process may have been faster.
    let (_, version) = marks(&transaction)?;
    for migration in migrations.iter().skip(version as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", known.max(version))?;
    transaction.commit()?;
    Ok(())
}

/// What SQLite itself finds wrong, a line each.
pub(super) fn integrity(connection: &Connection) -> Result<Vec<String>, Failed> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_last_migration() {
        assert_eq!(MIGRATIONS.len(), VERSION as usize);
    }

    #[test]
    fn an_older_schema_is_brought_further_and_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)"]).ok().unwrap();
        connection.execute("INSERT INTO a VALUES (7)", []).unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y DEFAULT 8"]).ok().unwrap();
        let row: (u32, u32) =
            connection.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(row, (7, 8));
        assert_eq!(marks(&connection).ok().unwrap(), (APPLICATION, 2));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut connection, &["CREATE TABLE a (x)", "nonsense"]).is_err());
        assert_eq!(marks(&connection).ok().unwrap(), (0, 0));
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
    }
}
