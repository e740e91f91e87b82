//! The store in one SQLite file.
//!
//! WAL with `synchronous=FULL`: what a method wrote is on disk when it returns, also
//! after a power cut. Every write is one `BEGIN IMMEDIATE` transaction, so several
//! processes can share the file; they wait for each other for [`BUSY`].

mod addresses;
mod events;
mod file;
#[cfg(feature = "kill-switch")]
mod kill_switch;
mod lease;
mod ledger;
mod pool;
mod runs;
mod schema;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::StoreError;

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// The store in one SQLite file. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the file, or makes it (mode 0600) with its folder (mode 0700), and brings
    /// it to this fedi's schema. Refused: a file of a newer fedi or of another program, a
    /// damaged one, a folder that others can write.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::prepare(path)?;
        let connection = open(path).map_err(|failed| failed.into_error("open", path))?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), connection: Mutex::new(connection) }) })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Looks at every page and every journal. What it finds wrong, a line each.
    pub async fn examine(&self) -> Result<Vec<String>, StoreError> {
        self.read("examine the file", |connection| {
            let mut wrong = schema::integrity(connection)?;
            for run in runs::all_ids(connection)? {
                if let Err(Failed::Damaged(what)) = events::records(connection, run) {
                    wrong.push(what);
                }
            }
            Ok(wrong)
        })
        .await
    }

    /// Reads in one transaction: all of it as it was at one moment, whoever writes.
    async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    {
        self.with(doing, move |connection| work(&*connection.transaction()?)).await
    }

    /// A write that is an append to a journal.
    async fn append_row<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failed> + Send + 'static,
    {
        #[cfg(feature = "kill-switch")]
        kill_switch::before();
        let result = self.write(doing, work).await?;
        #[cfg(feature = "kill-switch")]
        kill_switch::after();
        Ok(result)
    }

    async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failed> + Send + 'static,
    {
        self.with(doing, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    async fn with<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failed> + Send + 'static,
    {
        let inner = self.inner.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|failed| failed.into_error(doing, &inner.path))
        });
        match task.await {
            Ok(result) => result,
            Err(join) => Err(StoreError::Unavailable {
                doing,
                place: self.inner.path.display().to_string(),
                hint: None,
                source: Box::new(join),
            }),
        }
    }
}

/// Opens the file. While another process makes it what it is to be, SQLite may say that
/// it is busy without waiting itself (the change to WAL needs the file alone).
fn open(path: &Path) -> Result<Connection, Failed> {
    let begun = Instant::now();
    loop {
        match open_once(path) {
            Err(Failed::Sql(error))
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn open_once(path: &Path) -> Result<Connection, Failed> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    schema::prepare(&mut connection)?;
    Ok(connection)
}

/// Why a piece of work on the database failed, before the file's name is known.
enum Failed {
    Sql(rusqlite::Error),
    Damaged(String),
    Newer(u32),
    Foreign,
    Refused(StoreError),
}

impl Failed {
    fn into_error(self, doing: &'static str, path: &Path) -> StoreError {
        let place = path.display().to_string();
        match self {
            Self::Refused(error) => error,
            Self::Damaged(what) => StoreError::Damaged { place, what },
            Self::Newer(found) => StoreError::Newer { place, found, known: schema::VERSION },
            Self::Foreign => StoreError::Foreign { place },
            Self::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    StoreError::Damaged { place, what: error.to_string() }
                }
                code => StoreError::Unavailable { doing, place, hint: code.and_then(hint), source: Box::new(error) },
            },
        }
    }
}

/// What to try where SQLite says `code`.
fn hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::DiskFull => Some("Make room on its disk; nothing is lost"),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            Some("Check that the file and its folder can be written")
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some("Another process keeps it locked; try again"),
        _ => None,
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Reads a value that a column holds as text.
fn parse<T: std::str::FromStr>(text: &str, what: impl FnOnce() -> String) -> Result<T, Failed> {
    text.parse().map_err(|_| Failed::Damaged(format!("{} cannot be read: `{text}`", what())))
}

/// SQLite's integers are signed; what fedi counts never comes near the end of them.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SettingStore;

    #[tokio::test]
    async fn a_full_disk_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("state.db")).unwrap();
        store.set_setting("kept", Some("value")).await.unwrap();
        // A limit of pages is to SQLite what a full disk is.
        let pages = |pages: u32| store.with("limit", move |it| Ok(it.pragma_update(None, "max_page_count", pages)?));
        pages(1).await.unwrap();
        let big = "x".repeat(1 << 20);
        let error = store.set_setting("big", Some(&big)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        assert_eq!(error.hint().unwrap(), "Make room on its disk; nothing is lost");
        assert_eq!(store.setting("kept").await.unwrap().as_deref(), Some("value"));
        pages(1 << 20).await.unwrap();
        store.set_setting("big", Some(&big)).await.unwrap();
    }
}
