//! Dumping a database: one snapshot for the dump, the counts and the collation.

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::mpsc;

use serde::Deserialize;

use super::session::Session;
use super::{Postgres, incompatible, literal, quoted};
use crate::error::{ErrorClass, StateError};
use crate::snapshot::ObservedPostgres;
use crate::stage::ItemStage;
use crate::sums;
use crate::tool::{self, Input};
use crate::work::{Cancel, Work};

/// What the server says of a database as such.
#[derive(Deserialize)]
pub(super) struct Properties {
    pub owner: String,
    pub encoding: String,
    pub collate: String,
    pub ctype: String,
    pub provider: String,
    pub locale: Option<String>,
    pub collversion: Option<String>,
    pub bytes: u64,
}

/// A name in a schema, and a figure.
#[derive(Deserialize)]
struct Relation {
    schema: String,
    name: String,
}

#[derive(Deserialize)]
struct Sequence {
    schema: String,
    name: String,
    last: Option<i64>,
}

#[derive(Deserialize)]
struct Extension {
    name: String,
    version: String,
}

/// Schemas that are the server's own.
pub(super) const NOT_SYSTEM: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%'";

/// The server's major version.
pub(super) fn major(session: &mut Session) -> Result<u32, StateError> {
    let number = session.value("SHOW server_version_num")?;
    let unreadable = |_| StateError::damaged(format!("The server's version `{number}` does not read"));
    Ok(number.parse::<u32>().map_err(unreadable)? / 10000)
}

/// What the server says of a database; `None` if there is none of that name.
pub(super) fn properties(session: &mut Session, major: u32, name: &str) -> Result<Option<Properties>, StateError> {
    // Columns of pg_database by version: docs, "52.15. pg_database", of 14, 15 and 17.
    let (provider, locale, version) = match major {
        ..=14 => ("'c'", "NULL::text", "NULL::text"),
        15 | 16 => ("d.datlocprovider", "d.daticulocale", "d.datcollversion"),
        _ => ("d.datlocprovider", "d.datlocale", "d.datcollversion"),
    };
    let query = format!(
        "SELECT r.rolname AS owner, pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, \
         d.datctype AS ctype, CASE {provider}::text WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END AS provider, \
         {locale}::text AS locale, {version}::text AS collversion, pg_database_size(d.oid) AS bytes \
         FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = {}",
        literal(name)
    );
    Ok(session.rows(&query)?.into_iter().next())
}

/// Rows of every table, without those of skipped ones.
pub(super) fn rows(
    session: &mut Session,
    skipped: &[String],
    work: &Work,
) -> Result<BTreeMap<String, u64>, StateError> {
    let tables: Vec<Relation> = session.rows(&format!(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND {NOT_SYSTEM} ORDER BY 1, 2"
    ))?;
    let mut rows = BTreeMap::new();
    let mut meter = work.meter("count rows", None);
    for table in tables {
        let name = format!("{}.{}", table.schema, table.name);
        if skips(skipped, &table.schema, &table.name) {
            continue;
        }
        let count =
            session.value(&format!("SELECT count(*) FROM ONLY {}.{}", quoted(&table.schema), quoted(&table.name)))?;
        let unreadable = |_| StateError::damaged(format!("The count of `{name}` does not read"));
        rows.insert(name.clone(), count.parse().map_err(unreadable)?);
        meter.add(0, 1)?;
    }
    Ok(rows)
}

/// The last values of all sequences.
pub(super) fn sequences(session: &mut Session) -> Result<BTreeMap<String, Option<i64>>, StateError> {
    let query = "SELECT schemaname AS schema, sequencename AS name, last_value AS last FROM pg_sequences ORDER BY 1, 2";
    let found: Vec<Sequence> = session.rows(query)?;
    Ok(found.into_iter().map(|found| (format!("{}.{}", found.schema, found.name), found.last)).collect())
}

/// Extensions with their versions.
pub(super) fn extensions(session: &mut Session) -> Result<BTreeMap<String, String>, StateError> {
    let found: Vec<Extension> = session.rows("SELECT extname AS name, extversion AS version FROM pg_extension")?;
    Ok(found.into_iter().map(|found| (found.name, found.version)).collect())
}

/// Large objects.
pub(super) fn large_objects(session: &mut Session) -> Result<u64, StateError> {
    let count = session.value("SELECT count(*) FROM pg_largeobject_metadata")?;
    count.parse().map_err(|_| StateError::damaged("The count of large objects does not read"))
}

/// Whether the contract leaves a table's rows out; a name without schema means `public`.
pub(super) fn skips(skipped: &[String], schema: &str, table: &str) -> bool {
    skipped.iter().any(|name| match name.split_once('.') {
        Some((in_schema, name)) => in_schema == schema && name == table,
        None => schema == "public" && name == table,
    })
}

impl Postgres {
    pub(super) fn dump(&self, work: &Work, stage: &ItemStage) -> Result<ObservedPostgres, StateError> {
        let name = &self.declared.database;
        let mut session = Session::open(work, &self.access, name)?;
        let server_major = major(&mut session)?;
        session
            .execute("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0")?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let snapshot = session.value("SELECT pg_export_snapshot()")?;
        let Some(found) = properties(&mut session, server_major, name)? else {
            return Err(StateError::refused(ErrorClass::NotFound, format!("There is no database `{name}`")));
        };
        self.as_declared(server_major, &found)?;
        // Sequences are read before the dump reads them: what it has is never behind.
        let sequences = sequences(&mut session)?;
        let roles = session.lines(
            "SELECT DISTINCT pg_get_userbyid(o.owner) FROM (SELECT relowner AS owner FROM pg_class WHERE oid >= 16384 \
             UNION SELECT proowner FROM pg_proc WHERE oid >= 16384 UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384 \
             UNION SELECT typowner FROM pg_type WHERE oid >= 16384) o ORDER BY 1",
        )?;

        let dump = self.run_dump(work, stage, &snapshot, found.bytes, &mut session);
        let (rows, extensions, large_objects) = dump?;
        session.execute("ROLLBACK")?;
        drop(session);
        Ok(ObservedPostgres {
            database: name.clone(),
            owner: found.owner,
            server_major,
            encoding: found.encoding,
            collate: found.collate,
            ctype: found.ctype,
            locale_provider: found.provider,
            provider_locale: found.locale,
            collation_version: found.collversion,
            extensions,
            roles,
            rows,
            skipped_rows: self.declared.skip_rows.clone(),
            sequences,
            large_objects,
            bytes: found.bytes,
            digest: sums::write(work, &stage.folder)?,
        })
    }

    /// Refuses a database that is not what the contract says.
    pub(super) fn as_declared(&self, server_major: u32, found: &Properties) -> Result<(), StateError> {
        let Properties { owner, encoding, collate, ctype, .. } = found;
        let declared = &self.declared;
        let name = &declared.database;
        if server_major < declared.major {
            return incompatible(format!(
                "The server is PostgreSQL {server_major}; the contract has {}",
                declared.major
            ));
        }
        if *owner != declared.owner {
            return incompatible(format!(
                "Database `{name}` belongs to `{owner}`; the contract has `{}`",
                declared.owner
            ));
        }
        if *encoding != declared.encoding {
            return incompatible(format!("Database `{name}` is in {encoding}; the contract has {}", declared.encoding));
        }
        if let Some(locale) = &declared.locale
            && (collate != locale || ctype != locale)
        {
            return incompatible(format!(
                "Database `{name}` sorts by {collate} and {ctype}; the contract has {locale}"
            ));
        }
        Ok(())
    }

    /// Runs `pg_dump` and counts meanwhile, in the same snapshot.
    #[allow(clippy::type_complexity)]
    fn run_dump(
        &self,
        work: &Work,
        stage: &ItemStage,
        snapshot: &str,
        bytes: u64,
        session: &mut Session,
    ) -> Result<(BTreeMap<String, u64>, BTreeMap<String, String>, u64), StateError> {
        let dump = stage.folder.join("dump");
        std::fs::create_dir(&dump).map_err(StateError::file("make", &dump))?;
        let lent = Lent::to(self, &stage.folder)?;
        let mut command = self.access.command(work, "pg_dump");
        command.args(["--format=directory", "--compress=0", "--no-password", "--lock-wait-timeout=60s"]);
        command.arg(format!("--jobs={}", work.jobs)).arg(format!("--snapshot={snapshot}"));
        for name in &self.declared.skip_rows {
            let (schema, table) = name.split_once('.').unwrap_or(("public", name));
            command.arg(format!("--exclude-table-data={}.{}", quoted(schema), quoted(table)));
        }
        command.arg("--file").arg(&dump).arg("--dbname").arg(&self.declared.database);

        let (send, ended) = mpsc::channel();
        // Called off by itself when counting fails; `meter` watches the caller's wish.
        let background = Work { cancel: Cancel::default(), ..work.clone() };
        let counted = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut meter = work.meter(format!("dump {}", self.declared.database), Some(bytes));
                let output = tool::run(&background, command, Input::Nothing, &mut || meter.set(size(&dump), 0));
                // The receiver waits for exactly this.
                let _ = send.send(output);
            });
            let counted = rows(session, &self.declared.skip_rows, work)
                .and_then(|rows| Ok((rows, extensions(session)?, large_objects(session)?)));
            if counted.is_err() {
                // A dump without counts is worth nothing.
                background.cancel.cancel();
            }
            counted
        });
        let output = ended.recv().map_err(|_| StateError::refused(ErrorClass::Tool, "`pg_dump` was lost"))?;
        let counted = counted?;
        let output = output?;
        if !output.status.success() {
            return Err(tool::failure("pg_dump", &output));
        }
        lent.back()?;
        Ok(counted)
    }
}

/// A folder of the stage in the hands of the user that the tools run as.
pub(super) struct Lent<'a> {
    folder: &'a Path,
    lent: bool,
}

impl<'a> Lent<'a> {
    pub(super) fn to(postgres: &Postgres, folder: &'a Path) -> Result<Self, StateError> {
        let ours = rustix::process::geteuid().as_raw();
        let account = postgres.access.run_as.filter(|account| account.uid != ours);
        if let Some(account) = account {
            give(folder, account.uid, account.gid)?;
        }
        Ok(Self { folder, lent: account.is_some() })
    }

    /// Takes it back.
    pub(super) fn back(self) -> Result<(), StateError> {
        if self.lent {
            give(self.folder, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())?;
        }
        Ok(())
    }
}

fn give(folder: &Path, uid: u32, gid: u32) -> Result<(), StateError> {
    chown(folder, Some(uid), Some(gid)).map_err(StateError::file("change", folder))?;
    for entry in std::fs::read_dir(folder).map_err(StateError::file("read", folder))? {
        let entry = entry.map_err(StateError::file("read", folder))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            give(&path, uid, gid)?;
        } else {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).map_err(StateError::file("change", &path))?;
        }
    }
    Ok(())
}

/// Bytes of the files in a folder that is being written.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tables_by_name() {
        let skipped = ["keys".to_owned(), "audit.log".to_owned()];
        assert!(skips(&skipped, "public", "keys") && skips(&skipped, "audit", "log"));
        assert!(!skips(&skipped, "audit", "keys") && !skips(&skipped, "public", "log"));
    }
}
