//! What the backups did, for Prometheus' node exporter: one file, in the form of its
//! textfile collector, with the figures of every application of the guest.

use std::collections::BTreeMap;
use std::fmt::Write;

use fedi_model::AppName;

use super::{BackupConfig, Record};
use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;

const FOLDER: &str = "/var/lib/fedi/metrics";
const FILE: &str = "fedi-backup.prom";

/// Lines of the file, by figure.
type Lines = BTreeMap<String, Vec<String>>;

/// Name and meaning of a figure, and how it is read.
type Figure = (&'static str, &'static str, fn(&Record) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    ("fedi_backup_last_success_timestamp_seconds", "When the last backup that succeeded ended", |record| {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a double")]
        record.last_success.as_ref().map(|it| it.at.as_second() as f64)
    }),
    ("fedi_backup_last_run_success", "Whether the last backup succeeded", |record| {
        let tried = record.last_success.is_some() || record.last_failure.is_some();
        tried.then(|| if record.last_failure.is_some() { 0.0 } else { 1.0 })
    }),
    ("fedi_backup_duration_seconds", "How long the last backup took", |record| {
        let last = record.last_failure.as_ref().or(record.last_success.as_ref());
        #[expect(clippy::cast_precision_loss, reason = "no backup takes that long")]
        last.map(|it| it.took_ms as f64 / 1000.0)
    }),
    ("fedi_backup_bytes", "Size of the last backup that succeeded", |record| {
        #[expect(clippy::cast_precision_loss, reason = "a size for a graph")]
        record.last_success.as_ref().map(|it| it.bytes as f64)
    }),
    ("fedi_backup_new_bytes", "What of it the repository did not have yet", |record| {
        #[expect(clippy::cast_precision_loss, reason = "a size for a graph")]
        record.last_success.as_ref().map(|it| it.new_bytes as f64)
    }),
];

/// Writes an application's figures anew, beside those of the others.
pub(super) fn write(guest: &Guest, app: &AppName, config: &BackupConfig, record: &Record) -> Result<(), GuestError> {
    let labels = format!("{{deployment=\"{}\",app=\"{app}\"}}", config.deployment);
    change(guest, app, &|lines| {
        for (name, _, value) in FIGURES {
            if let Some(value) = value(record) {
                lines.entry(name.to_owned()).or_default().push(format!("{name}{labels} {value}"));
            }
        }
    })
}

/// Removes an application's figures.
pub(super) fn remove(guest: &Guest, app: &AppName) -> Result<(), GuestError> {
    change(guest, app, &|_| {})
}

fn change(guest: &Guest, app: &AppName, add: &dyn Fn(&mut Lines)) -> Result<(), GuestError> {
    let folder = guest.path(FOLDER);
    file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
    file::folder(&folder, 0o755)?;
    let _lock = file::lock(&folder.join(".lock"))?;
    let path = folder.join(FILE);
    let own = format!(",app=\"{app}\"}} ");
    let mut lines = Lines::new();
    for line in file::read_text(&path)?.unwrap_or_default().lines() {
        let Some((name, _)) = line.split_once('{').filter(|_| !line.starts_with('#') && !line.contains(&own)) else {
            continue;
        };
        lines.entry(name.to_owned()).or_default().push(line.to_owned());
    }
    add(&mut lines);
    let mut text = String::new();
    for (name, help, _) in FIGURES {
        let Some(lines) = lines.get(name) else { continue };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{}", lines.join("\n"));
    }
    file::replace(&path, text.as_bytes(), Access { mode: 0o644, owner: None })
}
