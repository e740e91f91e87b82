//! Pools of addresses.

use std::net::IpAddr;

use fedi_model::inventory::AddressPool;
use ipnet::IpNet;

use super::{Findings, at};

pub(super) fn check(pools: &[AddressPool], findings: &mut Findings<'_>) {
    for (index, pool) in pools.iter().enumerate() {
        let place = |key: &str| at(&["addresses"]).index(index).key(key);
        let network = pool.network;
        if network.addr() != network.network() {
            findings.add_with_hint(
                &place("network"),
                format!("`{network}` is an address, not a network"),
                format!("Write `{}`", network.trunc()),
            );
        }
        let mut inside = true;
        for (key, address) in [("gateway", pool.gateway), ("first", pool.first), ("last", pool.last)] {
            if !network.contains(&address) {
                inside = false;
                findings.add(&place(key), format!("{} `{address}` is outside `{network}`", name(key)));
            }
        }
        if !inside {
            continue;
        }
        if pool.first > pool.last {
            findings.add(
                &place("first"),
                format!("The first address `{}` is greater than the last one `{}`", pool.first, pool.last),
            );
            continue;
        }
        let range = pool.first..=pool.last;
        if range.contains(&pool.gateway) {
            findings.add_with_hint(
                &place("gateway"),
                format!("The gateway `{}` lies between `first` and `last`", pool.gateway),
                "A guest would get the router's address: leave it out of the range",
            );
        }
        for (what, address) in reserved(network) {
            if range.contains(&address) {
                findings.add(&place("first"), format!("The range holds the {what} `{address}`"));
            }
        }
        for (other_index, other) in pools.iter().enumerate().take(index) {
            let theirs = other.network;
            if network.trunc() != theirs.trunc() && (network.contains(&theirs) || theirs.contains(&network)) {
                let line = findings.line(&at(&["addresses"]).index(other_index).key("network"));
                findings.add_with_hint(
                    &place("network"),
                    format!("`{network}` and `{theirs}` of `addresses[{other_index}]` (line {line}) overlap"),
                    "One network has one prefix length: write the one that the router has in both",
                );
                continue;
            }
            if pool.first <= other.last && other.first <= pool.last && pool.first.is_ipv4() == other.first.is_ipv4() {
                findings.add(
                    &place("first"),
                    format!("The range overlaps that of `addresses[{other_index}]` (`{}`)", other.network),
                );
            }
        }
    }
}

fn name(key: &str) -> &'static str {
    match key {
        "gateway" => "The gateway",
        "first" => "The first address",
        _ => "The last address",
    }
}

/// Addresses that no guest can have: network and broadcast (RFC 919), the routers'
/// anycast address (RFC 4291, section 2.6.1). Networks of two addresses have none
/// (RFC 3021, RFC 6164).
fn reserved(network: IpNet) -> Vec<(&'static str, IpAddr)> {
    match network {
        IpNet::V4(net) if net.prefix_len() <= 30 => {
            vec![("network address", net.network().into()), ("broadcast address", net.broadcast().into())]
        }
        IpNet::V6(net) if net.prefix_len() <= 126 => vec![("routers' anycast address", net.network().into())],
        _ => Vec::new(),
    }
}
