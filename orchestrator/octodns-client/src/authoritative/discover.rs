//! Finds a zone's authoritative servers through a resolver.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
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
    /// The servers that the zone's NS records name, with all their addresses,
    /// as the system's resolver has them.
    pub async fn discover(zone: &ZoneName) -> Result<Self, DiscoverError> {
        let resolver = TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|error| DiscoverError::NoResolver(error.to_string()))?;
        look_up(zone, &resolver).await
    }

    /// The same as the resolver at `address` has them.
    pub async fn discover_through(zone: &ZoneName, address: SocketAddr) -> Result<Self, DiscoverError> {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        let server = NameServerConfig::new(address.ip(), true, connections);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .build()
            .map_err(|error| DiscoverError::NoResolver(error.to_string()))?;
        look_up(zone, &resolver).await
    }
}

async fn look_up(zone: &ZoneName, resolver: &TokioResolver) -> Result<Authoritative, DiscoverError> {
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
    if servers.is_empty() { Err(DiscoverError::NoAddress(zone.clone())) } else { Ok(Authoritative::of(servers)) }
}
