//! The embedded address book: addresses in the state database.

use std::sync::Arc;

use async_trait::async_trait;
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::{Address, Family};

use crate::clock::Clock;
use crate::drivers::{AddressBook, AddressRequest, DriverError, DriverErrorKind};
use crate::store::{Exhausted, Hold, Store, StoreError, StoredAddress};

/// The embedded address book. Two processes that ask at once get two addresses; the
/// store's transactions see to that.
pub struct AddressTable {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl AddressTable {
    /// An address book in that store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl AddressBook for AddressTable {
    async fn reserve(&self, request: AddressRequest<'_>) -> Result<Address, DriverError> {
        let AddressRequest { deployment, host, family, pools } = request;
        let message = || format!("Failed to reserve an {family} address for `{deployment}` on host `{host}`");
        let hold = Hold { deployment, host, family, pools };
        self.store
            .hold_address(hold, self.clock.now())
            .await
            .map_err(|error| unavailable(message(), &error))?
            .map_err(|exhausted| nothing_left(message(), request, &exhausted))
    }

    async fn peek(&self, request: AddressRequest<'_>) -> Result<Address, DriverError> {
        let AddressRequest { deployment, host, family, pools } = request;
        let message = || format!("Failed to find a free {family} address for `{deployment}` on host `{host}`");
        let hold = Hold { deployment, host, family, pools };
        self.store
            .peek_address(hold, self.clock.now())
            .await
            .map_err(|error| unavailable(message(), &error))?
            .map_err(|exhausted| nothing_left(message(), request, &exhausted))
    }

    async fn find(
        &self,
        deployment: &DeploymentName,
        host: &HostName,
        family: Family,
    ) -> Result<Option<Address>, DriverError> {
        let found = self.store.held_address(deployment, host, family).await;
        found.map_err(|error| unavailable(format!("Failed to look up the {family} address of `{deployment}`"), &error))
    }

    async fn ensure(&self, address: &Address) -> Result<Address, DriverError> {
        let message = || format!("Failed to hold address `{}` for `{}`", address.address.addr(), address.deployment);
        self.store
            .hold_exactly(address, self.clock.now())
            .await
            .map_err(|error| unavailable(message(), &error))?
            .map_err(|other| taken(message(), &other))
    }

    async fn release(&self, address: &Address) -> Result<(), DriverError> {
        let message = || format!("Failed to release address `{}` of `{}`", address.address.addr(), address.deployment);
        let released = self.store.release_address(address, self.clock.now()).await;
        released.map_err(|error| unavailable(message(), &error))
    }

    async fn list(&self) -> Result<Vec<Address>, DriverError> {
        let all = self.store.addresses().await.map_err(|error| unavailable("Failed to list addresses", &error))?;
        Ok(all.into_iter().filter(|it| it.rests_until.is_none()).map(|it| it.address).collect())
    }
}

fn unavailable(message: impl Into<String>, error: &StoreError) -> DriverError {
    let kind = match error {
        StoreError::Unavailable { .. } => DriverErrorKind::Unavailable,
        _ => DriverErrorKind::Failed,
    };
    let told = DriverError::new(kind, message).because(error);
    match error.hint() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

fn nothing_left(message: String, request: AddressRequest<'_>, exhausted: &Exhausted) -> DriverError {
    let Exhausted { pools, size, held, resting, next } = exhausted;
    let (host, family) = (request.host, request.family);
    let error = DriverError::new(DriverErrorKind::Exhausted, message);
    if *pools == 0 {
        return error
            .cause(format!("The host has no usable {family} pool"))
            .hint(format!("Add one under `[[addresses]]` in `hosts/{host}/host.toml`"));
    }
    let many = if *pools == 1 { "The pool has".to_owned() } else { format!("The {pools} pools have") };
    let error =
        error.cause(format!("{many} {size} addresses: {held} are held and {resting} rest from their last deployment"));
    let widen = format!("Widen a pool or add one under `[[addresses]]` in `hosts/{host}/host.toml`");
    match next {
        Some(next) => error.hint(format!("{widen}; the next address is free again at {next:.0}")),
        None => error.hint(widen),
    }
}

fn taken(message: String, other: &StoredAddress) -> DriverError {
    let holder = format!("`{}` on host `{}`", other.address.deployment, other.address.host);
    let cause = match other.rests_until {
        None => format!("It is held by {holder}"),
        Some(until) => format!("It was held by {holder} and rests until {until:.0}"),
    };
    DriverError::new(DriverErrorKind::Foreign, message).cause(cause)
}
