//! How cloud-init sets up a guest's network card.

use std::net::{Ipv4Addr, Ipv6Addr};

use proxmox_schema::PropertyString;

/// An address that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticIp<A> {
    pub address: A,
    /// Length of the network's prefix; Proxmox takes 8 and more.
    pub prefix: u8,
    pub gateway: Option<A>,
}

/// The addresses of one network card. Without any, cloud-init asks DHCP for IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpConfig {
    pub v4: Option<StaticIp<Ipv4Addr>>,
    pub v6: Option<StaticIp<Ipv6Addr>>,
}

impl From<&IpConfig> for PropertyString {
    fn from(config: &IpConfig) -> Self {
        let mut string = Self::new();
        if let Some(ip) = config.v4 {
            string.set("ip", format!("{}/{}", ip.address, ip.prefix));
            if let Some(gateway) = ip.gateway {
                string.set("gw", gateway);
            }
        }
        if let Some(ip) = config.v6 {
            string.set("ip6", format!("{}/{}", ip.address, ip.prefix));
            if let Some(gateway) = ip.gateway {
                string.set("gw6", gateway);
            }
        }
        if string == Self::new() { Self::new().with("ip", "dhcp") } else { string }
    }
}

impl IpConfig {
    /// Reads what stands in a configuration; what is not static is left out.
    pub fn parse(string: &PropertyString) -> Self {
        fn read<A: std::str::FromStr>(address: Option<&str>, gateway: Option<&str>) -> Option<StaticIp<A>> {
            let (address, prefix) = address?.split_once('/')?;
            Some(StaticIp {
                address: address.parse().ok()?,
                prefix: prefix.parse().ok()?,
                gateway: gateway.and_then(|gateway| gateway.parse().ok()),
            })
        }
        Self { v4: read(string.get("ip"), string.get("gw")), v6: read(string.get("ip6"), string.get("gw6")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_families_are_written() {
        let v4 =
            StaticIp { address: Ipv4Addr::new(10, 0, 0, 11), prefix: 24, gateway: Some(Ipv4Addr::new(10, 0, 0, 1)) };
        let v6 = StaticIp { address: "2001:db8::b".parse().unwrap(), prefix: 64, gateway: None };
        let config = IpConfig { v4: Some(v4), v6: Some(v6) };
        assert_eq!(PropertyString::from(&config).to_string(), "ip=10.0.0.11/24,gw=10.0.0.1,ip6=2001:db8::b/64");
        assert_eq!(PropertyString::from(&IpConfig::default()).to_string(), "ip=dhcp");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            v4 in proptest::option::of((any::<Ipv4Addr>(), 8u8..=32, proptest::option::of(any::<Ipv4Addr>()))),
            v6 in proptest::option::of((any::<Ipv6Addr>(), 8u8..=128, proptest::option::of(any::<Ipv6Addr>()))),
        ) {
            let config = IpConfig {
                v4: v4.map(|(address, prefix, gateway)| StaticIp { address, prefix, gateway }),
                v6: v6.map(|(address, prefix, gateway)| StaticIp { address, prefix, gateway }),
            };
            let text = PropertyString::from(&config).to_string();
            prop_assert_eq!(IpConfig::parse(&text.parse().unwrap()), config);
        }
    }
}
