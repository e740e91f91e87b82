//! Addresses out of a host's pools.

use async_trait::async_trait;
use fedi_model::inventory::AddressPool;
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::{Address, Family};

use super::DriverError;

/// What is asked of an address book.
#[derive(Debug, Clone, Copy)]
pub struct AddressRequest<'a> {
    /// For whom. With the family it is the key: the same request gets the same address.
    pub deployment: &'a DeploymentName,
    /// From whose pools.
    pub host: &'a HostName,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The host's pools; the first of the family with a free address is used.
    pub pools: &'a [AddressPool],
}

/// Who has which address. Allocation is race-free over processes.
#[async_trait]
pub trait AddressBook: Send + Sync {
    /// Holds an address for the deployment and returns it; the one it already has,
    /// if it has one in a pool that still exists.
    async fn reserve(&self, request: AddressRequest<'_>) -> Result<Address, DriverError>;

    /// The address that [`AddressBook::reserve`] would give now. Holds nothing.
    async fn peek(&self, request: AddressRequest<'_>) -> Result<Address, DriverError>;

    /// The address that the deployment holds on the host.
    async fn find(
        &self,
        deployment: &DeploymentName,
        host: &HostName,
        family: Family,
    ) -> Result<Option<Address>, DriverError>;

    /// Holds exactly this address again, as when an undone removal puts it back.
    async fn ensure(&self, address: &Address) -> Result<Address, DriverError>;

    /// Lets it go; it rests for its quarantine.
    async fn release(&self, address: &Address) -> Result<(), DriverError>;

    /// All that are held.
    async fn list(&self) -> Result<Vec<Address>, DriverError>;
}
