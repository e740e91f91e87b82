//! Who has which address: what [`crate::AddressTable`] stands on.

use async_trait::async_trait;
use fedi_model::inventory::AddressPool;
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::{Address, Family};
use jiff::Timestamp;

use super::StoreError;

/// A request to hold an address.
#[derive(Debug, Clone, Copy)]
pub struct Hold<'a> {
    /// For whom; with host and family the key.
    pub deployment: &'a DeploymentName,
    /// From whose pools.
    pub host: &'a HostName,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Where to look, in order; pools of the other family are passed over.
    pub pools: &'a [AddressPool],
}

/// An address in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAddress {
    /// The address and who has it, or had it last.
    pub address: Address,
    /// `None` while it is held; else the end of its rest.
    pub rests_until: Option<Timestamp>,
}

/// Nothing is left, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// How many pools of the family were looked at.
    pub pools: usize,
    /// How many addresses they have in all.
    pub size: u128,
    /// How many are held.
    pub held: u64,
    /// How many rest.
    pub resting: u64,
    /// When the first of these may be had again.
    pub next: Option<Timestamp>,
}

/// Keeps addresses. Every method is one transaction that no other process can get in
/// between.
#[async_trait]
pub trait AddressStore: Send + Sync {
    /// Holds an address: the one that the key holds, where its pool still exists; else
    /// the one that it held last, where nobody took it; else the lowest free one.
    async fn hold_address(&self, hold: Hold<'_>, now: Timestamp) -> Result<Result<Address, Exhausted>, StoreError>;

    /// The address that [`AddressStore::hold_address`] would give now. Writes nothing.
    async fn peek_address(&self, hold: Hold<'_>, now: Timestamp) -> Result<Result<Address, Exhausted>, StoreError>;

    /// Holds exactly this address. `Err` says who has it, or had it and whose rest it
    /// keeps.
    async fn hold_exactly(
        &self,
        address: &Address,
        now: Timestamp,
    ) -> Result<Result<Address, StoredAddress>, StoreError>;

    /// Lets the address go, into its rest. What somebody else holds stays theirs.
    async fn release_address(&self, address: &Address, now: Timestamp) -> Result<(), StoreError>;

    /// The address that the key holds.
    async fn held_address(
        &self,
        deployment: &DeploymentName,
        host: &HostName,
        family: Family,
    ) -> Result<Option<Address>, StoreError>;

    /// The whole table, held and resting, sorted by network and address.
    async fn addresses(&self) -> Result<Vec<StoredAddress>, StoreError>;
}
