//! Values by name.

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::SqliteStore;
use crate::store::{SettingStore, StoreError};

#[async_trait]
impl SettingStore for SqliteStore {
    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read("read a setting", move |connection| {
            Ok(connection.query_row("SELECT value FROM setting WHERE name = ?", [name], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn set_setting(&self, name: &str, value: Option<&str>) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        self.write("keep a setting", move |transaction| {
            match value {
                Some(value) => {
                    transaction.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", [name, value])?
                }
                None => transaction.execute("DELETE FROM setting WHERE name = ?", [name])?,
            };
            Ok(())
        })
        .await
    }

    async fn choose_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write("choose a setting", move |transaction| {
            transaction.execute("INSERT OR IGNORE INTO setting (name, value) VALUES (?, ?)", [&name, &value])?;
            Ok(transaction.query_row("SELECT value FROM setting WHERE name = ?", [name], |row| row.get(0))?)
        })
        .await
    }

    async fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let prefix = prefix.to_owned();
        self.read("read settings", move |connection| {
            let mut statement = connection
                .prepare("SELECT name, value FROM setting WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name")?;
            let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
