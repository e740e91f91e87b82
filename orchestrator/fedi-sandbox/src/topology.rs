//! Where everything is: the addresses, names and properties of the simulated data centre.
//!
//! One bridge in one network namespace carries it all. `10.78.0.0/24` is the operator's side; each simulated host
//! has a guest network of its own, with its gateway on the bridge. Nothing leads out.

use std::net::Ipv4Addr;

/// The bridge inside the namespace.
pub(crate) const BRIDGE: &str = "br0";
/// Addresses on the bridge, with prefix length.
pub(crate) const BRIDGE_ADDRESSES: [&str; 10] = [
    "10.78.0.1/24",
    "10.78.0.2/24",
    "10.78.0.11/24",
    "10.78.0.12/24",
    "10.78.0.53/24",
    "10.78.1.1/24",
    "10.78.2.1/24",
    "fd78::53/64",
    "fd78:1::1/64",
    "fd78:2::1/64",
];
/// PowerDNS: port 53 for everybody, 8081 for its API.
pub(crate) const DNS: &str = "10.78.0.53";
/// Port of PowerDNS' API.
pub(crate) const DNS_API_PORT: u16 = 8081;
/// The certificate authority.
pub(crate) const ACME: &str = "10.78.0.2";
/// Name of the certificate authority, in a zone that fedi does not write.
pub(crate) const ACME_NAME: &str = "acme.sandbox.test";
/// Name of the server for repositories of snapshots, at the certificate authority's address.
pub(crate) const BACKUP_NAME: &str = "backup.sandbox.test";
/// Its ports for guests, which may only add, and for the operator.
pub(crate) const BACKUP_PORTS: [u16; 2] = [8443, 8444];
/// Where ACME clients begin (RFC 8555, section 7.1.1).
pub const ACME_DIRECTORY: &str = "https://acme.sandbox.test/acme/local/directory";

/// Zones that fedi may write, empty but for SOA and NS.
pub(crate) const MANAGED_ZONES: [&str; 5] = [
    "example.test",
    "1.78.10.in-addr.arpa",
    "2.78.10.in-addr.arpa",
    "0.0.0.0.0.0.0.0.1.0.0.0.8.7.d.f.ip6.arpa",
    "0.0.0.0.0.0.0.0.2.0.0.0.8.7.d.f.ip6.arpa",
];
/// The sandbox's own zone.
pub(crate) const OWN_ZONE: &str = "sandbox.test";

/// A simulated Proxmox VE installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatedHost {
    /// Name in the inventory.
    pub name: &'static str,
    /// The PVE release it behaves as: `major.minor`.
    pub version: &'static str,
    /// The last part of that release: 9.2.11, 8.4.21.
    pub(crate) patch: u8,
    /// Address of its API; the port is 8006.
    pub address: Ipv4Addr,
    /// Its node.
    pub node: &'static str,
    /// The pool of fedi's guests.
    pub pool: &'static str,
    /// Storage for disks.
    pub vm_storage: &'static str,
    /// Storage for images.
    pub image_storage: &'static str,
    /// The bridge as the node calls it.
    pub bridge: &'static str,
    /// User of the API token: `name@realm`.
    pub user: &'static str,
    /// Id of the API token.
    pub token_id: &'static str,
}

/// The hosts, as `hosts/*/host.toml` of the repository describe them.
pub const HOSTS: [SimulatedHost; 2] = [
    SimulatedHost {
        name: "proxmox1",
        version: "9.2",
        patch: 11,
        address: Ipv4Addr::new(10, 78, 0, 11),
        node: "proxmox1",
        pool: "fedi",
        vm_storage: "local-lvm",
        image_storage: "local",
        bridge: "vmbr0",
        user: "fedi@pve",
        token_id: "deploy",
    },
    SimulatedHost {
        name: "new-provider",
        version: "8.4",
        patch: 21,
        address: Ipv4Addr::new(10, 78, 0, 12),
        node: "pve-a",
        pool: "tenants",
        vm_storage: "tank",
        image_storage: "images",
        bridge: "vmbr1",
        user: "hoster@pve",
        token_id: "fedi-token",
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fedi_inventory::{Environment, Folder, ImageSource};
    use fedi_model::inventory::{Credential, Tls};

    use super::*;

    /// The inventory that the repository is works in the sandbox as it stands.
    #[test]
    fn the_repositorys_hosts_are_these() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let environment = Environment::fixed([("FEDI_SANDBOX_DIR", "/sandbox"), ("FEDI_CONFIG_DIR", "/config")]);
        let folder = Folder::load(&root, environment).unwrap();
        assert_eq!(folder.inventory().hosts.len(), HOSTS.len());
        for simulated in HOSTS {
            let (_, host) = folder.host(simulated.name).unwrap();
            let it = &host.hypervisor;
            assert_eq!(it.endpoint, format!("https://{}:8006", simulated.address));
            let names = [&it.node, &it.pool, &it.vm_storage, &it.image_storage, &it.bridge];
            let SimulatedHost { node, pool, vm_storage, image_storage, bridge, .. } = simulated;
            assert_eq!(names, [node, pool, vm_storage, image_storage, bridge]);
            let credential = |file: &str| format!("credentials/{}/{file}", simulated.name);
            assert_eq!(it.tls, Tls::Ca(credential("ca.pem")));
            assert_eq!(it.token, Credential::File(credential("proxmox-token")));

            for pool in &host.address_pools {
                let gateway = format!("{}/{}", pool.gateway, pool.network.prefix_len());
                assert!(BRIDGE_ADDRESSES.contains(&gateway.as_str()), "{gateway} is not on the bridge");
            }
            assert_eq!(host.resolvers, [DNS.parse::<std::net::IpAddr>().unwrap()]);
            for zone in &host.dns.zones {
                assert!(MANAGED_ZONES.contains(&zone.name.as_str()), "{} is not managed", zone.name);
                let provider = &host.dns.providers[zone.provider.as_deref().unwrap()];
                assert_eq!(provider.settings["host"], DNS);
                assert_eq!(provider.settings["port"], DNS_API_PORT);
                assert_eq!(provider.secrets["api_key"], Credential::File(credential("pdns-api-key")));
            }
            assert_eq!(host.dns.caa_issuer.as_deref(), Some(ACME_NAME));
            assert_eq!(folder.image(host).unwrap(), ImageSource::File("/sandbox/images/guest.qcow2".into()));
            assert_eq!(folder.system_folder(host).unwrap(), Some("/sandbox/systems".into()));
        }
    }
}
