//! Comparing a database with what was observed, and looking through its indexes.

use super::capture::{large_objects, major, properties, rows, sequences};
use super::restore::missing_extension;
use super::session::Session;
use super::{Postgres, literal};
use crate::error::{ErrorClass, StateError};
use crate::kind::Report;
use crate::snapshot::ObservedPostgres;
use crate::work::Work;

/// Bytes of indexes that are looked through, the smallest first.
const SAMPLE: u64 = 256 << 20;

impl Postgres {
    pub(super) fn compare(&self, work: &Work, name: &str, observed: &ObservedPostgres) -> Result<Report, StateError> {
        let differs =
            |what: String| Err(StateError::refused(ErrorClass::Differs, format!("Database `{name}`: {what}")));
        let mut session = Session::open(work, &self.access, name)?;
        let server_major = major(&mut session)?;
        let Some(found) = properties(&mut session, server_major, name)? else {
            return differs("it is not there".to_owned());
        };
        for (what, here, there) in [
            ("owner", &found.owner, &self.declared.owner),
            ("encoding", &found.encoding, &observed.encoding),
            ("collation", &found.collate, &observed.collate),
            ("character type", &found.ctype, &observed.ctype),
        ] {
            if here != there {
                return differs(format!("its {what} is {here}, not {there}"));
            }
        }
        if let Some(extension) = missing_extension(&mut session, observed)? {
            return differs(format!("the extension `{extension}` is missing"));
        }
        let here = rows(&mut session, &observed.skipped_rows, work)?;
        for (table, there) in &observed.rows {
            match here.get(table) {
                Some(count) if count == there => {}
                Some(count) => return differs(format!("table `{table}` has {count} rows, not {there}")),
                None => return differs(format!("table `{table}` is missing")),
            }
        }
        if let Some(table) = here.keys().find(|table| !observed.rows.contains_key(*table)) {
            return differs(format!("table `{table}` is additional"));
        }
        let last = sequences(&mut session)?;
        for (sequence, there) in &observed.sequences {
            if last.get(sequence).is_none_or(|here| here < there) {
                return differs(format!("sequence `{sequence}` is behind"));
            }
        }
        let objects = large_objects(&mut session)?;
        if objects < observed.large_objects {
            return differs(format!("it has {objects} large objects, not {}", observed.large_objects));
        }
        let mut report = Report {
            checks: vec![format!(
                "{} tables with {} rows and {} sequences are as recorded",
                observed.rows.len(),
                observed.rows.values().sum::<u64>(),
                observed.sequences.len()
            )],
            notes: Vec::new(),
        };
        if server_major == observed.server_major
            && let (Some(here), Some(there)) = (&found.collversion, &observed.collation_version)
            && here != there
        {
            report.notes.push(format!("The collation's version is {here}; it was {there}"));
        }
        amcheck(&mut session, &mut report)?;
        Ok(report)
    }
}

/// Looks through B-tree indexes with the server's `amcheck`, in a transaction that
/// is rolled back, so that nothing is left in the database.
fn amcheck(session: &mut Session, report: &mut Report) -> Result<(), StateError> {
    let available =
        session.value(&format!("SELECT count(*) FROM pg_available_extensions WHERE name = {}", literal("amcheck")))?;
    if available == "0" {
        report.notes.push("amcheck is not installed on the server; its indexes were not looked through".to_owned());
        return Ok(());
    }
    let installed = session.value(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'amcheck'",
    )?;
    session.execute("BEGIN")?;
    let schema = if installed.is_empty() {
        session.execute("CREATE SCHEMA \"fedi-amcheck\"; CREATE EXTENSION amcheck SCHEMA \"fedi-amcheck\"")?;
        "fedi-amcheck".to_owned()
    } else {
        installed
    };
    let looked = session.lines(&format!(
        "SELECT count(*) FROM (SELECT {}.bt_index_check(s.oid) FROM \
         (SELECT c.oid, sum(pg_relation_size(c.oid)) OVER (ORDER BY pg_relation_size(c.oid), c.oid) AS upto \
          FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid \
          WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid) s \
         WHERE s.upto <= {SAMPLE} OFFSET 0) looked",
        super::quoted(&schema)
    ));
    let looked = looked.map_err(|error| match error {
        StateError::Tool { output, .. } => {
            StateError::refused(ErrorClass::Differs, format!("An index is corrupt: {output}"))
        }
        other => other,
    })?;
    session.execute("ROLLBACK")?;
    report.checks.push(format!("{} indexes are sound", looked.first().map_or("0", String::as_str)));
    Ok(())
}
