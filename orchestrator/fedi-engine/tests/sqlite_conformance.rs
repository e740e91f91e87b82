//! The SQLite store does what every store must do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::store::{SqliteStore, Store};
use fedi_test::store_conformance;
use fedi_test::store_suite::StoreBed;

struct File(tempfile::TempDir);

impl File {
    fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl StoreBed for File {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.0.path().join("state.db")).unwrap())
    }
}

store_conformance!(async || File::fresh());
