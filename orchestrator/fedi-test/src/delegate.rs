//! Forwards the methods of the store's traits that a wrapper does not change.

/// Implements [`LedgerStore`](fedi_engine::store::LedgerStore),
/// [`AddressStore`](fedi_engine::store::AddressStore) and
/// [`SettingStore`](fedi_engine::store::SettingStore) for `$type` by `self.inner`.
macro_rules! delegate_plain_parts {
    ($type:ty) => {
        #[async_trait::async_trait]
        impl fedi_engine::store::LedgerStore for $type {
            async fn ledger_entry(
                &self,
                id: &fedi_model::resource::ResourceId,
            ) -> Result<Option<fedi_engine::store::LedgerEntry>, fedi_engine::store::StoreError> {
                self.inner.ledger_entry(id).await
            }
            async fn ledger(
                &self,
                deployment: Option<&fedi_model::DeploymentName>,
            ) -> Result<Vec<fedi_engine::store::LedgerEntry>, fedi_engine::store::StoreError> {
                self.inner.ledger(deployment).await
            }
        }

        #[async_trait::async_trait]
        impl fedi_engine::store::AddressStore for $type {
            async fn hold_address(
                &self,
                hold: fedi_engine::store::Hold<'_>,
                now: jiff::Timestamp,
            ) -> Result<
                Result<fedi_model::resource::Address, fedi_engine::store::Exhausted>,
                fedi_engine::store::StoreError,
            > {
                self.inner.hold_address(hold, now).await
            }
            async fn peek_address(
                &self,
                hold: fedi_engine::store::Hold<'_>,
                now: jiff::Timestamp,
            ) -> Result<
                Result<fedi_model::resource::Address, fedi_engine::store::Exhausted>,
                fedi_engine::store::StoreError,
            > {
                self.inner.peek_address(hold, now).await
            }
            async fn hold_exactly(
                &self,
                address: &fedi_model::resource::Address,
                now: jiff::Timestamp,
            ) -> Result<
                Result<fedi_model::resource::Address, fedi_engine::store::StoredAddress>,
                fedi_engine::store::StoreError,
            > {
                self.inner.hold_exactly(address, now).await
            }
            async fn release_address(
                &self,
                address: &fedi_model::resource::Address,
                now: jiff::Timestamp,
            ) -> Result<(), fedi_engine::store::StoreError> {
                self.inner.release_address(address, now).await
            }
            async fn held_address(
                &self,
                deployment: &fedi_model::DeploymentName,
                host: &fedi_model::HostName,
                family: fedi_model::resource::Family,
            ) -> Result<Option<fedi_model::resource::Address>, fedi_engine::store::StoreError> {
                self.inner.held_address(deployment, host, family).await
            }
            async fn addresses(
                &self,
            ) -> Result<Vec<fedi_engine::store::StoredAddress>, fedi_engine::store::StoreError> {
                self.inner.addresses().await
            }
        }

        #[async_trait::async_trait]
        impl fedi_engine::store::SettingStore for $type {
            async fn setting(&self, name: &str) -> Result<Option<String>, fedi_engine::store::StoreError> {
                self.inner.setting(name).await
            }
            async fn set_setting(&self, name: &str, value: Option<&str>) -> Result<(), fedi_engine::store::StoreError> {
                self.inner.set_setting(name, value).await
            }
            async fn choose_setting(&self, name: &str, value: &str) -> Result<String, fedi_engine::store::StoreError> {
                self.inner.choose_setting(name, value).await
            }
            async fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, fedi_engine::store::StoreError> {
                self.inner.settings(prefix).await
            }
        }
    };
}

pub(crate) use delegate_plain_parts;
