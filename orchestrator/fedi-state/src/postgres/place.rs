//! What is in a database, who uses it, and emptying it.

use super::restore::MAINTENANCE;
use super::session::Session;
use super::{Postgres, literal, quoted};
use crate::error::StateError;
use crate::kind::Contents;
use crate::work::Work;

impl Postgres {
    fn exists(&self, server: &mut Session) -> Result<bool, StateError> {
        let name = literal(&self.declared.database);
        Ok(server.value(&format!("SELECT 1 FROM pg_database WHERE datname = {name}"))? == "1")
    }

    pub(super) fn found(&self, work: &Work) -> Result<Option<Contents>, StateError> {
        let name = &self.declared.database;
        let mut server = Session::open(work, &self.access, MAINTENANCE)?;
        if !self.exists(&mut server)? || self.first_object(work)?.is_none() {
            return Ok(None);
        }
        let bytes = server.value(&format!("SELECT pg_database_size({})", literal(name)))?.parse().unwrap_or(0);
        let mut session = Session::open(work, &self.access, name)?;
        let tables = session.value(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
             AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'",
        )?;
        Ok(Some(Contents { what: format!("{tables} tables"), bytes }))
    }

    pub(super) fn empty(&self, work: &Work) -> Result<(), StateError> {
        let mut server = Session::open(work, &self.access, MAINTENANCE)?;
        server.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&self.declared.database)))
    }

    /// Sessions of others, as `user synapse from psql`.
    pub(super) fn sessions(&self, work: &Work) -> Result<Vec<String>, StateError> {
        let mut server = Session::open(work, &self.access, MAINTENANCE)?;
        server.lines(&format!(
            "SELECT coalesce(usename, 'nobody') || ' (process ' || pid || ', ' || coalesce(nullif(application_name, ''), \
             'unnamed') || ')' FROM pg_stat_activity WHERE datname = {} AND backend_type = 'client backend' \
             AND application_name <> 'fedi' ORDER BY pid",
            literal(&self.declared.database)
        ))
    }
}
