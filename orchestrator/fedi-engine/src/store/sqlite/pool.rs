//! Arithmetic on address pools: addresses as numbers, and the lowest that is free.
//!
//! The work grows with the addresses that are taken, not with the size of the pool:
//! an IPv6 pool of 2^64 addresses costs no more than a small one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fedi_model::inventory::AddressPool;
use fedi_model::resource::Family;
use ipnet::IpNet;

/// An address as the 16 bytes that the table holds: IPv4 in the last four.
pub(super) fn to_bytes(address: IpAddr) -> [u8; 16] {
    number(address).to_be_bytes()
}

/// The address that the table holds.
pub(super) fn from_bytes(family: Family, bytes: [u8; 16]) -> IpAddr {
    address(family, u128::from_be_bytes(bytes))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::Ipv6 => Ipv6Addr::from_bits(number).into(),
    }
}

/// The part of a pool that may be given to guests.
pub(super) struct Range {
    family: Family,
    first: u128,
    last: u128,
    /// Inside the range but never given, sorted: the router, the network's own address
    /// (for IPv6 the routers' anycast address, RFC 4291, section 2.6.1), broadcast.
    kept: Vec<u128>,
}

impl Range {
    /// What `pool` has for `family`; `None` if it is of the other one or has nothing.
    pub(super) fn of(pool: &AddressPool, family: Family) -> Option<Self> {
        let all = [pool.network.addr(), pool.first, pool.last, pool.gateway];
        if all.iter().any(|address| Family::of(*address) != family) {
            return None;
        }
        let first = number(pool.first).max(number(pool.network.network()));
        let last = number(pool.last).min(number(pool.network.broadcast()));
        if first > last {
            return None;
        }
        let mut kept = vec![number(pool.gateway)];
        let host_bits = pool.network.max_prefix_len() - pool.network.prefix_len();
        if host_bits > 1 {
            kept.push(number(pool.network.network()));
            if matches!(pool.network, IpNet::V4(_)) {
                kept.push(number(pool.network.broadcast()));
            }
        }
        kept.retain(|number| (first..=last).contains(number));
        kept.sort_unstable();
        kept.dedup();
        Some(Self { family, first, last, kept })
    }

    /// Lowest and highest, as the table holds them.
    pub(super) fn bounds(&self) -> ([u8; 16], [u8; 16]) {
        (self.first.to_be_bytes(), self.last.to_be_bytes())
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let number = number(address);
        Family::of(address) == self.family && (self.first..=self.last).contains(&number) && !self.kept.contains(&number)
    }

    /// How many addresses it has.
    pub(super) fn size(&self) -> u128 {
        (self.last - self.first).saturating_add(1) - self.kept.len() as u128
    }

    /// The lowest address that is not among `taken`, which is sorted.
    pub(super) fn lowest_free(&self, taken: &[[u8; 16]]) -> Option<IpAddr> {
        let mut taken = taken.iter().map(|bytes| u128::from_be_bytes(*bytes)).peekable();
        let mut kept = self.kept.iter().copied().peekable();
        let mut candidate = self.first;
        loop {
            while taken.next_if(|number| *number < candidate).is_some() {}
            while kept.next_if(|number| *number < candidate).is_some() {}
            if taken.peek() != Some(&candidate) && kept.peek() != Some(&candidate) {
                return Some(address(self.family, candidate));
            }
            if candidate == self.last {
                return None;
            }
            candidate += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(network: &str, gateway: &str, first: &str, last: &str) -> AddressPool {
        AddressPool {
            network: network.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            quarantine_hours: 24,
        }
    }

    fn free(range: &Range, taken: &[&str]) -> Option<String> {
        let mut taken: Vec<_> = taken.iter().map(|text| to_bytes(text.parse().unwrap())).collect();
        taken.sort_unstable();
        range.lowest_free(&taken).map(|address| address.to_string())
    }

    #[test]
    fn what_is_never_given() {
        let range = Range::of(&pool("192.0.2.0/29", "192.0.2.2", "192.0.2.0", "192.0.2.7"), Family::Ipv4).unwrap();
        assert_eq!(range.size(), 5);
        assert_eq!(free(&range, &[]).unwrap(), "192.0.2.1");
        assert_eq!(free(&range, &["192.0.2.1"]).unwrap(), "192.0.2.3");
        assert!(!range.contains("192.0.2.0".parse().unwrap()));
        assert!(!range.contains("192.0.2.7".parse().unwrap()));
        assert_eq!(free(&range, &["192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"]), None);
    }

    #[test]
    fn a_network_of_two_addresses_has_no_broadcast() {
        let range = Range::of(&pool("192.0.2.0/31", "192.0.2.0", "192.0.2.0", "192.0.2.1"), Family::Ipv4).unwrap();
        assert_eq!((range.size(), free(&range, &[]).unwrap().as_str()), (1, "192.0.2.1"));
    }

    #[test]
    fn all_of_ipv6() {
        let range = Range::of(&pool("::/0", "::1", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Family::Ipv6);
        let range = range.unwrap();
        assert_eq!(free(&range, &["::2", "::3", "::5"]).unwrap(), "::4");
        assert!(range.size() > u128::MAX - 4);
    }

    #[test]
    fn the_other_family_and_nonsense() {
        let v4 = pool("192.0.2.0/24", "192.0.2.1", "192.0.2.10", "192.0.2.20");
        assert!(Range::of(&v4, Family::Ipv6).is_none());
        assert!(Range::of(&AddressPool { last: v4.first, first: v4.last, ..v4.clone() }, Family::Ipv4).is_none());
        assert!(Range::of(&AddressPool { last: "2001:db8::1".parse().unwrap(), ..v4 }, Family::Ipv4).is_none());
    }

    #[test]
    fn bytes_and_back() {
        for text in ["192.0.2.7", "255.255.255.255", "2001:db8::7", "::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(from_bytes(Family::of(address), to_bytes(address)), address);
        }
    }
}
