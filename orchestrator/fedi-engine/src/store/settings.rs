//! A few values by name: a deployment's UUID, how long an import took.

use async_trait::async_trait;

use super::StoreError;

/// Keeps values by name. Names are paths: `uuid/matrix`.
#[async_trait]
pub trait SettingStore: Send + Sync {
    /// The value of that name.
    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Sets it, or forgets it.
    async fn set_setting(&self, name: &str, value: Option<&str>) -> Result<(), StoreError>;

    /// Sets it unless it is set, and returns what it is now: of several that choose at
    /// once, one wins.
    async fn choose_setting(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// All whose name begins with `prefix`, sorted.
    async fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError>;
}
