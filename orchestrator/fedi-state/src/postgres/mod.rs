//! PostgreSQL databases, one at a time.
//!
//! Dump, row counts and collation are of one exported snapshot. A restore goes into
//! a new database beside the final one, is counted and looked through there, and
//! takes the final name at the end: whatever cuts it off, the name stands either for
//! nothing (or the empty database that was there) or for all of it. Dumps are not
//! compressed, so that a repository recognises what it has; it compresses itself.

use std::path::PathBuf;

use fedi_model::manifest::Postgres as Declared;

use crate::account::Account;
use crate::error::{ErrorClass, StateError};
use crate::kind::{Contents, Kind, Report};
use crate::snapshot::{Consistency, Observed, ObservedPostgres};
use crate::stage::ItemStage;
use crate::sums;
use crate::work::Work;

mod capture;
mod place;
mod restore;
mod session;
mod verify;

/// How to reach the server: over its socket, as a user that it trusts for that.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Folder of the server's socket, or a host name.
    pub host: String,
    /// TCP port, or the socket's number.
    pub port: u16,
    /// Superuser of the server.
    pub user: String,
    /// The system's user that programs run as, for `peer` authentication.
    pub run_as: Option<Account>,
    /// A file as libpq reads passwords from, readable by that user alone.
    pub passfile: Option<PathBuf>,
}

/// A PostgreSQL database.
pub struct Postgres {
    declared: Declared,
    access: Access,
}

impl Postgres {
    /// As the contract declares it.
    pub fn new(declared: Declared, access: Access) -> Self {
        Self { declared, access }
    }

    fn expected(observed: &Observed) -> Result<&ObservedPostgres, StateError> {
        match observed {
            Observed::Postgres(observed) => Ok(observed),
            _ => Err(StateError::damaged("The snapshot has another kind of item here")),
        }
    }
}

impl Kind for Postgres {
    fn capture(&self, work: &Work, stage: &ItemStage, _consistency: Consistency) -> Result<Observed, StateError> {
        stage.filled(|| self.dump(work, stage)).map(Observed::Postgres)
    }

    fn fits(&self, work: &Work, observed: &Observed) -> Result<(), StateError> {
        self.suits(work, Self::expected(observed)?)
    }

    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError> {
        let observed = Self::expected(observed)?;
        sums::check(work, &stage.folder, &observed.digest)?;
        self.load(work, stage, observed)
    }

    fn verify(&self, work: &Work, _stage: &ItemStage, observed: &Observed) -> Result<Report, StateError> {
        self.compare(work, &self.declared.database, Self::expected(observed)?)
    }

    fn contents(&self, work: &Work) -> Result<Option<Contents>, StateError> {
        self.found(work)
    }

    fn clear(&self, work: &Work) -> Result<(), StateError> {
        self.empty(work)
    }

    fn users(&self, work: &Work) -> Result<Vec<String>, StateError> {
        self.sessions(work)
    }
}

/// A name as SQL reads it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL reads it, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn incompatible<T>(message: String) -> Result<T, StateError> {
    Err(StateError::refused(ErrorClass::Incompatible, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's \\"), "E'it\\'s \\\\'");
    }
}
