//! Loading a dump: into a new database beside the final one, which takes the final
//! name when all of it is there and was counted.

use std::fmt::Write as _;

use serde::Deserialize;

use super::capture::{Lent, NOT_SYSTEM, Properties, extensions, major, properties};
use super::session::Session;
use super::{Postgres, literal, quoted};
use crate::error::{ErrorClass, StateError};
use crate::snapshot::ObservedPostgres;
use crate::stage::ItemStage;
use crate::sums;
use crate::tool::{self, Input};
use crate::work::Work;

/// The database that is always there.
pub(super) const MAINTENANCE: &str = "postgres";
/// How the comment of a database of ours begins.
const MARK: &str = "fedi restore ";

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Postgres {
    pub(super) fn load(&self, work: &Work, stage: &ItemStage, observed: &ObservedPostgres) -> Result<(), StateError> {
        let name = &self.declared.database;
        self.suits(work, observed)?;
        let mut server = Session::open(work, &self.access, MAINTENANCE)?;
        let server_major = major(&mut server)?;
        let mark = format!("{MARK}{}", observed.digest);
        let existing = properties(&mut server, server_major, name)?;
        if existing.is_some() {
            if comment(&mut server, name)? == mark {
                return Ok(());
            }
            self.is_empty(work)?;
        }

        // A name of our own, within the 63 bytes that the server keeps.
        let new = format!("fedi-restore-{}", &sums::hex(name.as_bytes())[..16]);
        if !comment(&mut server, &new)?.starts_with(MARK) && properties(&mut server, server_major, &new)?.is_some() {
            let message = format!("There is a database `{new}` that fedi did not make");
            return Err(StateError::refused(ErrorClass::NotEmpty, message));
        }
        server.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&new)))?;
        server.execute(&create(&new, &self.declared.owner, observed, server_major))?;
        // The comment says whose it is and, once it has its name, that it is whole.
        server.execute(&format!("COMMENT ON DATABASE {} IS {}", quoted(&new), literal(&mark)))?;
        let loaded = self.fill(work, stage, observed, &new);
        if let Err(error) = loaded {
            server.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&new)))?;
            return Err(error);
        }
        if existing.is_some() {
            // Somebody may have come while we loaded.
            self.is_empty(work)?;
            server.execute(&format!("DROP DATABASE {}", quoted(name)))?;
        }
        server.execute(&format!("ALTER DATABASE {} RENAME TO {}", quoted(&new), quoted(name)))
    }

    /// Refuses a server, or a database that is there, which could not take the dump.
    pub(super) fn suits(&self, work: &Work, observed: &ObservedPostgres) -> Result<(), StateError> {
        let name = &self.declared.database;
        let mut server = Session::open(work, &self.access, MAINTENANCE)?;
        let server_major = major(&mut server)?;
        if server_major < observed.server_major {
            let message = format!(
                "The server is PostgreSQL {server_major}; the dump of PostgreSQL {} cannot go to an older one",
                observed.server_major
            );
            return Err(StateError::refused(ErrorClass::Incompatible, message)
                .with_hint("Declare the newer major version in the contract, and deploy before the restore"));
        }
        self.has_roles(&mut server, observed)?;
        has_extensions(&mut server, observed)?;
        match properties(&mut server, server_major, name)? {
            Some(existing) => alike(name, &existing, observed),
            None => Ok(()),
        }
    }

    fn fill(&self, work: &Work, stage: &ItemStage, observed: &ObservedPostgres, new: &str) -> Result<(), StateError> {
        let lent = Lent::to(self, &stage.folder)?;
        let mut command = self.access.command(work, "pg_restore");
        command.args(["--exit-on-error", "--format=directory", "--no-password"]);
        command.arg(format!("--jobs={}", work.jobs)).arg("--dbname").arg(new).arg(stage.folder.join("dump"));
        let mut server = Session::open(work, &self.access, MAINTENANCE)?;
        let size = format!("SELECT pg_database_size({})", literal(new));
        let mut meter = work.meter(format!("load {}", self.declared.database), Some(observed.bytes));
        let output =
            tool::run(work, command, Input::Nothing, &mut || meter.set(server.value(&size)?.parse().unwrap_or(0), 0));
        lent.back()?;
        let output = output?;
        if !output.status.success() {
            return Err(tool::failure("pg_restore", &output));
        }
        self.compare(work, new, observed)?;
        Session::open(work, &self.access, new)?.execute("ANALYZE")
    }

    /// Refuses a server that lacks a role that owns something.
    fn has_roles(&self, server: &mut Session, observed: &ObservedPostgres) -> Result<(), StateError> {
        let here: Vec<Named> = server.rows("SELECT rolname AS name FROM pg_roles")?;
        let mut wanted = observed.roles.iter().chain([&self.declared.owner]);
        match wanted.find(|role| !here.iter().any(|here| here.name == **role)) {
            Some(role) => Err(StateError::refused(ErrorClass::Missing, format!("The server has no role `{role}`"))
                .with_hint("Activate the application's system first; it makes its roles")),
            None => Ok(()),
        }
    }

    /// Refuses a database with anything in it.
    fn is_empty(&self, work: &Work) -> Result<(), StateError> {
        let Some(first) = self.first_object(work)? else { return Ok(()) };
        let message = format!("Database `{}` is not empty: it has `{first}`", self.declared.database);
        Err(StateError::refused(ErrorClass::NotEmpty, message)
            .with_hint("Restoring goes only into an empty database; drop or rename this one first"))
    }

    /// Something in the database that is neither the server's nor an extension's.
    pub(super) fn first_object(&self, work: &Work) -> Result<Option<String>, StateError> {
        let mut session = Session::open(work, &self.access, &self.declared.database)?;
        let own = "NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')";
        let found: Vec<Named> = session.rows(&format!(
            "SELECT n.nspname || '.' || o.relname AS name FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace \
             WHERE {NOT_SYSTEM} AND {own} UNION ALL \
             SELECT n.nspname || '.' || o.proname FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace \
             WHERE {NOT_SYSTEM} AND {own} UNION ALL \
             SELECT 'large object ' || oid FROM pg_largeobject_metadata LIMIT 1"
        ))?;
        Ok(found.into_iter().next().map(|found| found.name))
    }
}

/// Refuses an existing database that is not of the recorded make.
fn alike(name: &str, existing: &Properties, observed: &ObservedPostgres) -> Result<(), StateError> {
    for (what, here, there) in [
        ("encoding", &existing.encoding, &observed.encoding),
        ("collation", &existing.collate, &observed.collate),
        ("character type", &existing.ctype, &observed.ctype),
        ("locale provider", &existing.provider, &observed.locale_provider),
    ] {
        if here != there {
            return Err(StateError::refused(
                ErrorClass::Incompatible,
                format!("Database `{name}` has the {what} {here}; the snapshot has {there}"),
            )
            .with_hint("Drop the empty database; it is made anew as the snapshot has it"));
        }
    }
    Ok(())
}

/// Refuses a server that lacks an extension.
fn has_extensions(server: &mut Session, observed: &ObservedPostgres) -> Result<(), StateError> {
    let here: Vec<Named> = server.rows("SELECT name FROM pg_available_extensions")?;
    match observed.extensions.keys().find(|wanted| !here.iter().any(|here| here.name == **wanted)) {
        Some(name) => Err(StateError::refused(ErrorClass::Missing, format!("The server has no extension `{name}`"))),
        None => Ok(()),
    }
}

/// The comment on a database; empty if there is none, or no database.
fn comment(server: &mut Session, name: &str) -> Result<String, StateError> {
    let query =
        format!("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {}", literal(name));
    server.value(&query)
}

fn create(name: &str, owner: &str, observed: &ObservedPostgres, server_major: u32) -> String {
    let mut statement = format!(
        "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quoted(name),
        quoted(owner),
        literal(&observed.encoding),
        literal(&observed.collate),
        literal(&observed.ctype),
    );
    if server_major >= 15 {
        // Writing to a string cannot fail.
        let _ = write!(statement, " LOCALE_PROVIDER {}", quoted(&observed.locale_provider));
        if let Some(locale) = &observed.provider_locale {
            let option = if observed.locale_provider == "builtin" { "BUILTIN_LOCALE" } else { "ICU_LOCALE" };
            let _ = write!(statement, " {option} {}", literal(locale));
        }
    }
    statement
}

/// The extensions of a database that are there, for the verification.
pub(super) fn missing_extension(
    session: &mut Session,
    observed: &ObservedPostgres,
) -> Result<Option<String>, StateError> {
    let here = extensions(session)?;
    Ok(observed.extensions.keys().find(|name| !here.contains_key(*name)).cloned())
}
