//! MariaDB (and MySQL) databases, one at a time, through the server's own programs.
//!
//! Their dump tool cannot share its snapshot, so rows are counted before and after:
//! what was equal both times was so in the dump. A restore marks the database with a
//! table of its own until all of it is there; a database with that mark is fedi's to
//! make anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use fedi_model::manifest::Mysql as Declared;

use crate::account::Account;
use crate::error::{ErrorClass, StateError};
use crate::kind::{Contents, Kind, Report};
use crate::snapshot::{Consistency, Observed, ObservedMysql};
use crate::stage::ItemStage;
use crate::sums;
use crate::tool::{self, Input};
use crate::work::Work;

/// The table that says that a restore is not finished.
const MARK: &str = "fedi_restoring";
/// What the last line of a whole dump begins with.
const COMPLETED: &[u8] = b"-- Dump completed";

/// How to reach the server: over its socket, as a user that it trusts for that.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The server's socket.
    pub socket: PathBuf,
    /// The server's user.
    pub user: String,
    /// The system's user that programs run as, for `unix_socket` authentication.
    pub run_as: Option<Account>,
    /// An option file with the password, readable by that user alone.
    pub option_file: Option<PathBuf>,
}

/// A MariaDB or MySQL database.
pub struct Mysql {
    declared: Declared,
    access: Access,
}

impl Mysql {
    /// As the contract declares it.
    pub fn new(declared: Declared, access: Access) -> Self {
        Self { declared, access }
    }

    /// One of the server's programs, by its name of today or of before MariaDB 10.5.
    fn command(&self, work: &Work, name: &str, old: &str) -> Command {
        let name = if work.tools.find(name).is_some() { name } else { old };
        let mut command = work.tools.command(name);
        command.env_remove("MYSQL_PWD").current_dir("/");
        // Must come first.
        match &self.access.option_file {
            Some(file) => command.arg(format!("--defaults-file={}", file.display())),
            None => command.arg("--no-defaults"),
        };
        command.arg("--protocol=socket").arg("--socket").arg(&self.access.socket).arg("--user").arg(&self.access.user);
        command.arg("--default-character-set=utf8mb4");
        match self.access.run_as {
            Some(account) => account.applied(command),
            None => command,
        }
    }

    /// The rows of a query: columns separated by tabs.
    fn query(&self, work: &Work, database: Option<&str>, query: &str) -> Result<Vec<Vec<String>>, StateError> {
        let mut command = self.command(work, "mariadb", "mysql");
        command.args(["--batch", "--skip-column-names", "--raw", "--connect-timeout=15"]);
        if let Some(database) = database {
            command.arg(format!("--database={database}"));
        }
        let answer = tool::succeed(work, command, Input::Bytes(query.as_bytes()))?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    fn value(&self, work: &Work, query: &str) -> Result<String, StateError> {
        let rows = self.query(work, None, query)?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    /// Character set and collation of the database, if it is there.
    fn schema(&self, work: &Work) -> Result<Option<(String, String)>, StateError> {
        let rows = self.query(
            work,
            None,
            &format!(
                "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata \
                 WHERE schema_name = {};",
                literal(&self.declared.database)
            ),
        )?;
        Ok(rows.into_iter().next().and_then(|row| Some((row.first()?.clone(), row.get(1)?.clone()))))
    }

    /// Rows of every table, all counted in one snapshot.
    fn rows(&self, work: &Work) -> Result<BTreeMap<String, u64>, StateError> {
        let name = literal(&self.declared.database);
        let tables = self.query(
            work,
            None,
            &format!(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = {name} \
                 AND table_type = 'BASE TABLE' AND table_name <> '{MARK}' ORDER BY 1;"
            ),
        )?;
        let names: Vec<String> = tables.into_iter().flatten().collect();
        let mut script = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n".to_owned();
        for name in &names {
            // Writing to a string cannot fail.
            let _ = writeln!(script, "SELECT count(*) FROM {};", quoted(name));
        }
        let counts = self.query(work, Some(&self.declared.database), &script)?;
        let unreadable = || StateError::damaged("The database server's counts do not read");
        let counts = counts.into_iter().flatten().map(|count| count.parse().map_err(|_| unreadable()));
        let counts: Vec<u64> = counts.collect::<Result<_, _>>()?;
        if counts.len() != names.len() {
            return Err(unreadable());
        }
        Ok(names.into_iter().zip(counts).collect())
    }

    /// Views, triggers, routines and events.
    fn programs(&self, work: &Work) -> Result<u64, StateError> {
        let name = literal(&self.declared.database);
        let count = self.value(
            work,
            &format!(
                "SELECT (SELECT count(*) FROM information_schema.views WHERE table_schema = {name}) \
                 + (SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = {name}) \
                 + (SELECT count(*) FROM information_schema.routines WHERE routine_schema = {name}) \
                 + (SELECT count(*) FROM information_schema.events WHERE event_schema = {name});"
            ),
        )?;
        count.parse().map_err(|_| StateError::damaged("The database server's count of programs does not read"))
    }

    fn is_marked(&self, work: &Work) -> Result<bool, StateError> {
        let count = self.value(
            work,
            &format!(
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = {} AND table_name = '{MARK}';",
                literal(&self.declared.database)
            ),
        )?;
        Ok(count != "0")
    }

    /// Size in the server; an estimate of its own.
    fn bytes(&self, work: &Work) -> Result<u64, StateError> {
        let size = self.value(
            work,
            &format!(
                "SELECT coalesce(sum(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = {};",
                literal(&self.declared.database)
            ),
        )?;
        Ok(size.parse().unwrap_or(0))
    }

    fn dump(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<ObservedMysql, StateError> {
        let database = &self.declared.database;
        let Some((charset, collation)) = self.schema(work)? else {
            return Err(StateError::refused(ErrorClass::NotFound, format!("There is no database `{database}`")));
        };
        if self.is_marked(work)? {
            let message = format!("Database `{database}` is a restore that was not finished");
            return Err(StateError::refused(ErrorClass::Changed, message));
        }
        let server_version = self.value(work, "SELECT version();")?;
        let bytes = self.bytes(work)?;
        let before = self.rows(work)?;
        let programs = self.programs(work)?;
        let path = stage.folder.join("dump.sql");
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(StateError::file("write", &path))?;
        let mut command = self.command(work, "mariadb-dump", "mysqldump");
        command.args(["--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob"]);
        command.args(["--skip-lock-tables", "--no-tablespaces", "--max-allowed-packet=1G"]).arg(database);
        let mut meter = work.meter(format!("dump {database}"), Some(bytes));
        let output = tool::run_to_file(work, command, file, &mut || {
            meter.set(fs::metadata(&path).map_or(0, |found| found.len()), 0)
        })?;
        if !output.status.success() {
            return Err(tool::failure("mariadb-dump", &output));
        }
        complete(&path)?;
        let rows_exact = self.rows(work)? == before;
        if !rows_exact && consistency == Consistency::Quiesced {
            let message = format!("Database `{database}` changed while it was captured");
            return Err(StateError::refused(ErrorClass::Changed, message)
                .with_hint("Something still works on it; see which process does"));
        }
        let digest = sums::write(work, &stage.folder)?;
        let database = database.clone();
        Ok(ObservedMysql {
            database,
            server_version,
            charset,
            collation,
            rows: before,
            rows_exact,
            programs,
            bytes,
            digest,
        })
    }

    fn load(&self, work: &Work, stage: &ItemStage, observed: &ObservedMysql) -> Result<(), StateError> {
        let database = &self.declared.database;
        let path = stage.folder.join("dump.sql");
        complete(&path)?;
        self.suits(work, observed)?;
        match self.schema(work)? {
            None => {}
            Some(_) if self.is_marked(work)? => {}
            Some(_) => {
                if self.rows(work)?.is_empty() && self.programs(work)? == 0 {
                    // As empty as a restore finds it.
                } else if self.compare(work, observed).is_ok() {
                    // An earlier run did it all.
                    return Ok(());
                } else {
                    let message = format!("Database `{database}` is not empty");
                    return Err(StateError::refused(ErrorClass::NotEmpty, message)
                        .with_hint("Restoring goes only into an empty database; drop or rename this one first"));
                }
            }
        }
        let name = quoted(database);
        let anew = format!(
            "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} CHARACTER SET {} COLLATE {};",
            plain(&observed.charset)?,
            plain(&observed.collation)?
        );
        self.query(work, None, &anew)?;
        self.query(work, Some(database), &format!("CREATE TABLE {MARK} (unfinished int);"))?;
        let loaded = self.fill(work, &path, observed);
        if loaded.is_err() {
            self.query(work, None, &anew)?;
        }
        loaded
    }

    /// Refuses a server, or an empty database that is there, which could not take the dump.
    fn suits(&self, work: &Work, observed: &ObservedMysql) -> Result<(), StateError> {
        let database = &self.declared.database;
        Self::takes(&self.value(work, "SELECT version();")?, &observed.server_version)?;
        let Some((charset, collation)) = self.schema(work)? else { return Ok(()) };
        let is_empty = || Ok::<_, StateError>(self.rows(work)?.is_empty() && self.programs(work)? == 0);
        if (&charset, &collation) == (&observed.charset, &observed.collation) || !is_empty()? {
            return Ok(());
        }
        let message = format!(
            "Database `{database}` has {charset} and {collation}; the snapshot has {} and {}",
            observed.charset, observed.collation
        );
        Err(StateError::refused(ErrorClass::Incompatible, message)
            .with_hint("Drop the empty database; it is made anew as the snapshot has it"))
    }

    fn fill(&self, work: &Work, path: &std::path::Path, observed: &ObservedMysql) -> Result<(), StateError> {
        let database = &self.declared.database;
        let dump = File::open(path).map_err(StateError::file("read", path))?;
        let mut command = self.command(work, "mariadb", "mysql");
        command.args(["--batch", "--binary-mode", "--max-allowed-packet=1G"]).arg(format!("--database={database}"));
        let mut place = dump.try_clone().map_err(StateError::file("read", path))?;
        let mut meter = work.meter(format!("load {database}"), Some(observed.bytes));
        let output = tool::run(work, command, Input::File(dump), &mut || {
            // The tool reads through the same open file.
            meter.set(place.stream_position().unwrap_or(0), 0)
        })?;
        if !output.status.success() {
            return Err(tool::failure("mariadb", &output));
        }
        self.compare(work, observed)?;
        self.query(work, Some(database), &format!("DROP TABLE {MARK};"))?;
        Ok(())
    }

    /// Refuses an older server, and another make of it.
    fn takes(here: &str, there: &str) -> Result<(), StateError> {
        let maria = |version: &str| version.contains("MariaDB");
        let number = |version: &str| version.split('-').next().unwrap_or_default().to_owned();
        let series = |version: &str| number(version).split('.').take(2).collect::<Vec<_>>().join(".");
        if maria(here) == maria(there) && !crate::snapshot::older(&series(here), &series(there)) {
            return Ok(());
        }
        let message = format!("The server is {here}; the dump is of {there}");
        Err(StateError::refused(ErrorClass::Incompatible, message)
            .with_hint("Give the guest a server at least as new and of the same make, and deploy before the restore"))
    }

    fn compare(&self, work: &Work, observed: &ObservedMysql) -> Result<Report, StateError> {
        let database = &self.declared.database;
        let differs =
            |what: String| Err(StateError::refused(ErrorClass::Differs, format!("Database `{database}`: {what}")));
        match self.schema(work)? {
            None => return differs("it is not there".to_owned()),
            Some((charset, collation)) if (&charset, &collation) != (&observed.charset, &observed.collation) => {
                return differs(format!("it has {charset} and {collation}"));
            }
            Some(_) => {}
        }
        let here = self.rows(work)?;
        if !here.keys().eq(observed.rows.keys()) {
            return differs(format!("it has {} tables, not {}", here.len(), observed.rows.len()));
        }
        if observed.rows_exact
            && let Some((table, there)) = observed.rows.iter().find(|(table, there)| here.get(*table) != Some(there))
        {
            return differs(format!("table `{table}` has {} rows, not {there}", here.get(table).copied().unwrap_or(0)));
        }
        let programs = self.programs(work)?;
        if programs != observed.programs {
            return differs(format!(
                "it has {programs} views, triggers, routines and events, not {}",
                observed.programs
            ));
        }
        let sum: u64 = here.values().sum();
        let checks = vec![format!("{} tables with {sum} rows and {programs} programs are as recorded", here.len())];
        let inexact = "rows were written while it was dumped: the counts are not compared".to_owned();
        let notes = if observed.rows_exact { Vec::new() } else { vec![inexact] };
        Ok(Report { checks, notes })
    }

    fn expected(observed: &Observed) -> Result<&ObservedMysql, StateError> {
        match observed {
            Observed::Mysql(observed) => Ok(observed),
            _ => Err(StateError::damaged("The snapshot has another kind of item here")),
        }
    }
}

impl Kind for Mysql {
    fn capture(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<Observed, StateError> {
        stage.filled(|| self.dump(work, stage, consistency)).map(Observed::Mysql)
    }

    fn fits(&self, work: &Work, observed: &Observed) -> Result<(), StateError> {
        self.suits(work, Self::expected(observed)?)
    }

    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError> {
        let observed = Self::expected(observed)?;
        sums::check(work, &stage.folder, &observed.digest)?;
        self.load(work, stage, observed)
    }

    fn verify(&self, work: &Work, _: &ItemStage, observed: &Observed) -> Result<Report, StateError> {
        if self.is_marked(work)? {
            let message = format!("Database `{}` is a restore that was not finished", self.declared.database);
            return Err(StateError::refused(ErrorClass::Differs, message));
        }
        self.compare(work, Self::expected(observed)?)
    }

    fn contents(&self, work: &Work) -> Result<Option<Contents>, StateError> {
        // What is marked is fedi's own to make anew.
        if self.schema(work)?.is_none() || self.is_marked(work)? {
            return Ok(None);
        }
        let (tables, programs) = (self.rows(work)?.len(), self.programs(work)?);
        if tables == 0 && programs == 0 {
            return Ok(None);
        }
        Ok(Some(Contents { what: format!("{tables} tables, {programs} programs"), bytes: self.bytes(work)? }))
    }

    fn clear(&self, work: &Work) -> Result<(), StateError> {
        self.query(work, None, &format!("DROP DATABASE IF EXISTS {};", quoted(&self.declared.database))).map(drop)
    }

    fn users(&self, work: &Work) -> Result<Vec<String>, StateError> {
        let rows = self.query(
            work,
            None,
            &format!(
                "SELECT concat(user, ' (connection ', id, ')') FROM information_schema.processlist \
                 WHERE db = {} AND id <> connection_id() ORDER BY id;",
                literal(&self.declared.database)
            ),
        )?;
        Ok(rows.into_iter().flatten().collect())
    }
}

/// Refuses a dump without its last line: the tool was ended before.
fn complete(path: &std::path::Path) -> Result<(), StateError> {
    let mut file = File::open(path).map_err(StateError::file("read", path))?;
    let length = file.metadata().map_err(StateError::file("read", path))?.len();
    let mut end = Vec::new();
    let read = file.seek(SeekFrom::Start(length.saturating_sub(256))).and_then(|_| file.read_to_end(&mut end));
    read.map_err(StateError::file("read", path))?;
    if end.split(|b| *b == b'\n').any(|line| line.starts_with(COMPLETED)) {
        return Ok(());
    }
    Err(StateError::damaged(format!("`{}` has no end: the dump was cut off", path.display())))
}

/// A name as SQL reads it.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL reads it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The name of a character set or collation, which cannot be quoted.
fn plain(name: &str) -> Result<&str, StateError> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(name);
    }
    Err(StateError::damaged(format!("`{}` is no character set or collation", name.escape_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_servers_and_other_makes_are_refused() {
        let takes = |here: &str, there: &str| Mysql::takes(here, there).is_ok();
        assert!(takes("10.11.14-MariaDB-0+deb12u2", "10.11.6-MariaDB"));
        assert!(takes("11.4.2-MariaDB", "10.11.6-MariaDB"));
        assert!(!takes("10.6.1-MariaDB", "10.11.6-MariaDB"));
        assert!(!takes("8.0.30", "10.11.6-MariaDB"));
    }

    #[test]
    fn quotes() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
        assert!(plain("utf8mb4_bin").is_ok() && plain("x; DROP").is_err());
    }
}
