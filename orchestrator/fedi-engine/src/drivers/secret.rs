//! A store of secrets with versions and compare-and-set.

use std::fmt;

use async_trait::async_trait;
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::name::{AppName, DeploymentName, SecretName};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::DriverError;

/// What a secret goes by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey {
    /// Whose it is.
    pub deployment: DeploymentName,
    /// The application it serves.
    pub app: AppName,
    /// Its name.
    pub name: SecretName,
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.deployment, self.app, self.name)
    }
}

/// A secret's value: wiped when dropped, never printed.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Do not copy them anywhere that outlives the value.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// Version of a secret: 1 for the first value.
pub type SecretVersion = u32;

/// What the store tells of a secret without giving its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEntry {
    /// What it goes by.
    pub key: SecretKey,
    /// What may happen to it.
    pub class: SecretClass,
    /// How it was made.
    pub generator: Generator,
    /// The newest version.
    pub version: SecretVersion,
    /// When the newest version was stored.
    pub at: Timestamp,
}

/// Keeps secrets.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The newest value and its version, in one answer.
    async fn get(&self, key: &SecretKey) -> Result<Option<(SecretValue, SecretVersion)>, DriverError>;

    /// What is known of the secret but its value.
    async fn entry(&self, key: &SecretKey) -> Result<Option<SecretEntry>, DriverError>;

    /// Stores `value` as version `expected + 1`; 0 means that there is none yet.
    /// Another version in the store is [`super::DriverErrorKind::Drift`], and nothing is written.
    async fn put(
        &self,
        key: &SecretKey,
        class: SecretClass,
        generator: &Generator,
        value: &SecretValue,
        expected: SecretVersion,
    ) -> Result<SecretVersion, DriverError>;

    /// All secrets, of one deployment or of all, sorted by key.
    async fn list(&self, deployment: Option<&DeploymentName>) -> Result<Vec<SecretEntry>, DriverError>;

    /// Deletes every version. Deleting what is not there succeeds.
    async fn delete(&self, key: &SecretKey) -> Result<(), DriverError>;

    /// Fails with a hint when the store cannot be used: no key, unreadable key.
    async fn check(&self) -> Result<(), DriverError>;
}
