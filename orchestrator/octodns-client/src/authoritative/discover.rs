//! Finds a zone's authoritative servers through the system's resolver.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

use super::{Authoritative, NameServer};
use crate::name::ZoneName;

/// Why a zone's servers were not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    #[error("The system's resolver cannot be used: {0}")]
    NoResolver(String),
    #[error("Failed to look up the name servers of `{zone}`: {why}")]
    Lookup { zone: ZoneName, why: String },
    #[error("None of the name servers of `{0}` has an address")]
    NoAddress(ZoneName),
}

impl Authoritative {
    /// The servers that the zone's NS records name, with all their addresses.
    pub async fn discover(zone: &ZoneName) -> Result<Self, DiscoverError> {
        let resolver = TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|error| DiscoverError::NoResolver(error.to_string()))?;
        let found = resolver
            .ns_lookup(zone.fqdn())
            .await
            .map_err(|error| DiscoverError::Lookup { zone: zone.clone(), why: error.to_string() })?;
        let mut servers = Vec::new();
        for record in found.answers() {
            let RData::NS(server) = &record.data else {
                continue;
            };
            // one server without an address does not speak for the others
            let Ok(addresses) = resolver.lookup_ip(server.0.clone()).await else {
                continue;
            };
            servers.push(NameServer {
                name: server.0.to_string(),
                addresses: addresses.iter().map(|ip| SocketAddr::new(ip, 53)).collect(),
            });
        }
        if servers.is_empty() { Err(DiscoverError::NoAddress(zone.clone())) } else { Ok(Self::of(servers)) }
    }
}
