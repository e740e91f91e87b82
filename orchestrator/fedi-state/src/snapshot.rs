//! The snapshot manifest: what was observed when state was captured. It lies with
//! the data as `snapshot.json`, is readable without fedi (`docs/snapshot.md`), and
//! is written last: a stage without one is unfinished.
//!
//! The declared contract is another document, `fedi_model::manifest`.

use std::collections::BTreeMap;

use fedi_model::manifest::{App, SecretClass};
pub use fedi_model::state::Consistency;
use fedi_model::{AppName, DeploymentName, SecretName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, StateError};
use crate::fingerprint::Fingerprint;

/// The version of the snapshot manifest that this fedi reads and writes.
pub const SCHEMA: u32 = 1;

/// `snapshot.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// Always [`SCHEMA`]; a newer one is refused before anything else is read.
    pub schema: u32,
    /// Version of the fedi that wrote it.
    pub fedi: String,
    /// The deployment that was captured.
    pub deployment: DeploymentName,
    /// Its application.
    pub app: AppName,
    /// Version of the application as it ran.
    pub app_version: String,
    /// Where the application's schema stood, where it says so (the last migration's id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// The lease's epoch; only ever grows.
    pub epoch: u64,
    /// When capturing began, by the guest's clock.
    pub began: Timestamp,
    /// When it ended, by the same clock, which may have been set meanwhile.
    pub ended: Timestamp,
    /// What may have moved while it was captured.
    pub consistency: Consistency,
    /// Every item of the contract.
    pub items: BTreeMap<String, Observed>,
    /// The items in the order of restoring.
    pub order: Vec<String>,
    /// The secrets that the state cannot be read without. Never a value.
    #[serde(default)]
    pub secrets: BTreeMap<SecretName, ObservedSecret>,
}

/// A secret at the time of capturing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedSecret {
    /// What may happen to it.
    pub class: SecretClass,
    /// Keyed digest of its value.
    pub fingerprint: Fingerprint,
    /// Items that cannot be read without it.
    #[serde(default)]
    pub protects: Vec<String>,
}

/// An item as it was observed; the variants are those of `manifest::Item`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Observed {
    /// A PostgreSQL database.
    Postgres(ObservedPostgres),
    /// A MariaDB or MySQL database.
    Mysql(ObservedMysql),
    /// A Redis instance.
    Redis(ObservedRedis),
    /// An S3 bucket.
    Bucket(ObservedBucket),
    /// A folder of files.
    Directory(ObservedDirectory),
    /// Something that is made again; nothing of it is kept.
    Derived(ObservedDerived),
}

/// A PostgreSQL database as it was observed. Figures are of the dump's own snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedPostgres {
    /// Its name.
    pub database: String,
    /// Owning role.
    pub owner: String,
    /// Major version of the server: the dump cannot go to an older one.
    pub server_major: u32,
    /// Server encoding: `UTF8`.
    pub encoding: String,
    /// LC_COLLATE.
    pub collate: String,
    /// LC_CTYPE.
    pub ctype: String,
    /// Where the locale comes from: `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// The ICU or built-in locale, where the provider is one of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_locale: Option<String>,
    /// Version of the collation as the operating system has it; `None` for `C`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation_version: Option<String>,
    /// Extensions with their versions.
    pub extensions: BTreeMap<String, String>,
    /// Roles that own something in the database.
    pub roles: Vec<String>,
    /// Rows by `schema.table`.
    pub rows: BTreeMap<String, u64>,
    /// Tables whose rows were left out on purpose.
    #[serde(default)]
    pub skipped_rows: Vec<String>,
    /// Last values of sequences by `schema.sequence`; `None` if never used.
    pub sequences: BTreeMap<String, Option<i64>>,
    /// Large objects.
    pub large_objects: u64,
    /// Size in the server, bytes.
    pub bytes: u64,
    /// Digest of the item's `SHA256SUMS`.
    pub digest: String,
}

/// A MariaDB or MySQL database as it was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedMysql {
    /// Its name.
    pub database: String,
    /// Version of the server: `10.11.14-MariaDB`.
    pub server_version: String,
    /// Default character set of the database.
    pub charset: String,
    /// Default collation of the database.
    pub collation: String,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Whether nothing was written between counting and dumping.
    pub rows_exact: bool,
    /// Views, triggers, routines and events.
    pub programs: u64,
    /// Size in the server, bytes; an estimate of its own.
    pub bytes: u64,
    /// Digest of the item's `SHA256SUMS`.
    pub digest: String,
}

/// A Redis instance as it was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedRedis {
    /// Its name.
    pub instance: String,
    /// Version of the server.
    pub server_version: String,
    /// Whether it was left out because it only holds a cache.
    pub skipped: bool,
    /// Keys by database number.
    pub keys: BTreeMap<u32, u64>,
    /// Those of `keys` that end by themselves, by database number.
    pub expiring: BTreeMap<u32, u64>,
    /// Entries of queued work, by prefix of the contract.
    pub queues: BTreeMap<String, u64>,
    /// Size of the RDB, bytes.
    pub bytes: u64,
    /// Digest of the item's `SHA256SUMS`; empty if skipped.
    pub digest: String,
}

/// An S3 bucket as it was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedBucket {
    /// Its name.
    pub bucket: String,
    /// Objects, without those under `rebuildable` prefixes.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SHA-256 of the inventory, `inventory.jsonl`.
    pub digest: String,
}

/// A folder of files as it was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedDirectory {
    /// Its path as the contract has it.
    pub path: String,
    /// Where that led, if a symbolic link stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Files, hard links counted each.
    pub files: u64,
    /// Folders, with the folder itself.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files, hard links counted once.
    pub bytes: u64,
    /// Files that were still being written after several attempts; never in quiesced captures.
    #[serde(default)]
    pub moving: u64,
    /// Whether the source was in use: a file that changed until it was stored is newer in
    /// the tree than in the listing, or not in the tree any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_use: bool,
    /// Sockets and pipes, which hold no state and were left out.
    #[serde(default)]
    pub left_out: u64,
    /// SHA-256 of the listing, `files.jsonl`.
    pub digest: String,
}

/// Something that is made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservedDerived {
    /// Where it lies.
    pub paths: Vec<String>,
    /// The unit that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<String>,
}

impl Snapshot {
    /// Reads and checks a snapshot manifest.
    pub fn from_json(text: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let unreadable =
            |error: serde_json::Error| StateError::damaged(format!("`snapshot.json` does not read: {error}"));
        let Version { schema } = serde_json::from_slice(text).map_err(unreadable)?;
        if schema != SCHEMA {
            let message = format!("The snapshot has version {schema}; this fedi reads version {SCHEMA}");
            return Err(StateError::refused(ErrorClass::Incompatible, message).with_hint("Use the fedi that wrote it"));
        }
        let snapshot: Self = serde_json::from_slice(text).map_err(unreadable)?;
        let mut ordered: Vec<&String> = snapshot.order.iter().collect();
        ordered.sort();
        if ordered != snapshot.items.keys().collect::<Vec<_>>() {
            return Err(StateError::damaged("`order` of the snapshot must name every item exactly once"));
        }
        Ok(snapshot)
    }

    /// Refuses an application that cannot take this state over: an older version,
    /// one that upgrades only from later ones, or another application.
    pub fn fits(&self, name: &AppName, app: &App) -> Result<(), StateError> {
        let incompatible = |message| Err(StateError::refused(ErrorClass::Incompatible, message));
        if *name != self.app {
            return incompatible(format!("The snapshot is of `{}`, not of `{name}`", self.app));
        }
        if older(&app.version, &self.app_version) {
            return incompatible(format!(
                "The system has {name} {}, older than the snapshot's {}; a schema cannot go back",
                app.version, self.app_version
            ));
        }
        if older(&self.app_version, &app.upgrades_from) {
            return incompatible(format!(
                "{name} {} takes over state from {} on; the snapshot is of {}",
                app.version, app.upgrades_from, self.app_version
            ));
        }
        let (there, here): (Vec<_>, Vec<_>) = (self.items.keys().collect(), app.items.keys().collect());
        if there != here {
            return incompatible(format!("The snapshot has the items {there:?}, the system declares {here:?}"));
        }
        Ok(())
    }
}

/// Whether one version comes before another: numbers as numbers, part by part,
/// the rest as text; `1.2-rc.1` comes before `1.2`.
pub fn older(one: &str, other: &str) -> bool {
    fn parts(version: &str) -> (Vec<u64>, &str) {
        let version = version.trim_start_matches('v');
        let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
        let (numbers, rest) = version.split_at(end);
        let mut numbers: Vec<u64> = numbers.split('.').filter_map(|part| part.parse().ok()).collect();
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        (numbers, rest)
    }
    let (one, other) = (parts(one), parts(other));
    match one.0.cmp(&other.0) {
        std::cmp::Ordering::Equal => match (one.1.starts_with(['-', 'r']), other.1.starts_with(['-', 'r'])) {
            (true, false) => true,
            (false, true) => false,
            _ => one.1 < other.1,
        },
        order => order.is_lt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = r#"{ "schema": 1, "fedi": "0.1.0", "deployment": "matrix", "app": "matrix", "appVersion": "1.2",
        "epoch": 7, "began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:01Z", "consistency": "quiesced",
        "items": { "feeds": { "derived": { "paths": [] } } }, "order": ["feeds"] }"#;

    #[test]
    fn reads_a_small_one() {
        let snapshot = Snapshot::from_json(SMALL.as_bytes()).unwrap();
        let again = serde_json::to_vec(&snapshot).unwrap();
        assert_eq!(Snapshot::from_json(&again).unwrap(), snapshot);
    }

    #[test]
    fn refuses_a_newer_one_before_reading_it() {
        let error = Snapshot::from_json(br#"{ "schema": 2, "items": "something new" }"#).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Incompatible);
        assert_eq!(error.to_string(), "The snapshot has version 2; this fedi reads version 1");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (from, to) in [("\"epoch\"", "\"epok\""), ("[\"feeds\"]", "[]"), ("quiesced", "calm")] {
            let error = Snapshot::from_json(SMALL.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Damaged, "{from}");
        }
    }

    #[test]
    fn an_older_application_is_refused() {
        let snapshot = Snapshot::from_json(SMALL.as_bytes()).unwrap();
        let app = |version: &str, upgrades_from: &str| -> App {
            serde_json::from_value(serde_json::json!({ "version": version, "upgradesFrom": upgrades_from,
                "gate": "fedi-matrix.target", "items": { "feeds": { "derived": {} } }, "order": ["feeds"] }))
            .unwrap()
        };
        let name = AppName::new("matrix").unwrap();
        assert!(snapshot.fits(&name, &app("1.2", "1.0")).is_ok());
        assert!(snapshot.fits(&name, &app("1.10", "1.2.0")).is_ok());
        for (version, from) in [("1.1.9", "1.0"), ("2.0", "1.3"), ("1.2-rc.1", "1.0")] {
            let error = snapshot.fits(&name, &app(version, from)).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Incompatible, "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = Snapshot::from_json(text.as_bytes());
        }

        #[test]
        fn no_version_is_older_than_itself(one in "[0-9a-z.-]{0,12}", other in "[0-9a-z.-]{0,12}") {
            prop_assert!(!older(&one, &one));
            prop_assert!(!(older(&one, &other) && older(&other, &one)));
        }
    }
}
