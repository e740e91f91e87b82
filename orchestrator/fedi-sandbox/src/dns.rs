//! PowerDNS: authoritative for the zones that fedi writes and for the sandbox's own, and the only name server of
//! every process in the sandbox. It knows no other zone and asks nobody: there is no way out.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::command::{Daemon, output};
use crate::layout::{Layout, private_file};
use crate::namespace::Namespace;
use crate::topology::{ACME, ACME_NAME, BACKUP_NAME, DNS, DNS_API_PORT, HOSTS, MANAGED_ZONES, OWN_ZONE};
use crate::{Result, SandboxError};

const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// Makes the zones where they are missing and starts the server.
pub(crate) fn ensure(layout: &Layout, cgroup: Cgroup, namespace: &Namespace, api_key: &str) -> Result<()> {
    let folder = layout.dns();
    let database = folder.join("zones.sqlite3");
    let config = format!(
        "launch=gsqlite3\ngsqlite3-database={database}\ngsqlite3-pragma-synchronous=0\n\
         local-address={DNS},fd78::53\nlocal-port=53\nsocket-dir={folder}\n\
         api=yes\napi-key={api_key}\nwebserver=yes\nwebserver-address={DNS}\nwebserver-port={DNS_API_PORT}\n\
         webserver-allow-from=10.78.0.0/16\ndefault-soa-content=ns.{OWN_ZONE}. hostmaster.@ 0 10800 3600 604800 60\n\
         allow-axfr-ips=10.78.0.0/16\nversion-string=anonymous\nsecurity-poll-suffix=\n\
         cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
         guardian=no\ndaemon=no\ndisable-syslog=yes\nlog-timestamp=yes\n",
        database = database.display(),
        folder = folder.display(),
    );
    private_file(&folder.join("pdns.conf"), config.as_bytes())?;
    // Written last, so that an interrupted start begins again.
    let marker = folder.join("zones-made");
    if !marker.exists() {
        make_zones(layout)?;
        private_file(&marker, b"")?;
    }
    let daemon =
        Daemon { title: "PowerDNS", cgroup, netns: namespace.file(), etc: layout.etc(), log: layout.log("dns") };
    let argv = ["pdns_server".to_owned(), config_dir(layout)];
    daemon.ensure(&argv, &[], Duration::from_secs(30), || answers(namespace))
}

fn config_dir(layout: &Layout) -> String {
    format!("--config-dir={}", layout.dns().display())
}

fn make_zones(layout: &Layout) -> Result<()> {
    let database = layout.dns().join("zones.sqlite3");
    if database.exists() {
        std::fs::remove_file(&database).map_err(SandboxError::io("remove a half-made zone database"))?;
    }
    let read = format!(".read {SCHEMA}");
    output("create the zone database", "sqlite3", [database.as_os_str(), read.as_ref()])?;
    let directory = config_dir(layout);
    let pdnsutil = |args: &[&str]| {
        let what = format!("create zone `{}`", args[1]);
        output(&what, "pdnsutil", [directory.as_str()].iter().chain(args)).map(drop)
    };
    let server = format!("ns.{OWN_ZONE}");
    for zone in MANAGED_ZONES.iter().chain([&OWN_ZONE]) {
        pdnsutil(&["create-zone", zone, &server])?;
    }
    let own = |name: &str, address: &str| {
        let label = name.strip_suffix(OWN_ZONE).map_or(name, |label| label.trim_end_matches('.'));
        pdnsutil(&["add-record", OWN_ZONE, label, "A", "3600", address])
    };
    own("ns", DNS)?;
    own(ACME_NAME, ACME)?;
    own(BACKUP_NAME, ACME)?;
    for host in HOSTS {
        own(host.name, &host.address.to_string())?;
    }
    Ok(())
}

/// Whether the server answers for a zone that it has.
pub(crate) fn answers(namespace: &Namespace) -> bool {
    namespace.inside(|| ask(DNS)).is_ok()
}

/// Asks for the SOA record of the sandbox's own zone (RFC 1035, section 4.1).
fn ask(server: &str) -> io::Result<()> {
    let mut query = vec![0x0f, 0xed, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in OWN_ZONE.split('.') {
        query.push(u8::try_from(label.len()).unwrap_or(0));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 6, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let address: SocketAddr = format!("{server}:53").parse().map_err(io::Error::other)?;
    socket.connect(address)?;
    socket.send(&query)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let response_code = answer[3] % 16;
    let no_error = length > 12 && answer[..2] == query[..2] && response_code == 0 && answer[7] > 0;
    if no_error { Ok(()) } else { Err(io::Error::other("no such zone yet")) }
}
