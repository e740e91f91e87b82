//! A PowerDNS with its API, on SQLite.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Running, free_port, loopback, program};
use crate::{Provider, Secret};

const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
const KEY: &str = "pdns-test-api-key/with+odd=characters";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running PowerDNS authoritative server without zones.
#[derive(Debug)]
pub struct Pdns {
    process: Running,
    directory: TempDir,
    dns: SocketAddr,
    api: SocketAddr,
}

impl Pdns {
    /// Starts one; `None`, with a skip said, when it is not installed.
    pub fn start() -> Result<Option<Self>> {
        let Some(server) = program("pdns_server") else {
            return Ok(None);
        };
        if !Path::new(SCHEMA).exists() {
            super::skip("pdns-backend-sqlite3 is not installed");
            return Ok(None);
        }
        let mut directory = tempfile::tempdir()?;
        create_database(&directory.path().join("zones.sqlite3"))?;
        // another process may take a free port first
        let mut last = None;
        for _ in 0..3 {
            let (dns, api) = (loopback(free_port()?), loopback(free_port()?));
            let process = launch(&server, directory.path(), dns, api)?;
            let mut pdns = Self { process, directory, dns, api };
            match pdns.wait_until_ready() {
                Ok(()) => return Ok(Some(pdns)),
                Err(error) => last = Some(error),
            }
            directory = pdns.directory;
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("PowerDNS did not start")))
    }

    /// Where it answers DNS.
    pub fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// Where its HTTP API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// An octoDNS provider that talks to it.
    pub fn provider(&self) -> Provider {
        self.provider_at(self.api)
    }

    /// The same, over another address such as a proxy's.
    pub fn provider_at(&self, api: SocketAddr) -> Provider {
        provider(api, KEY)
    }

    /// The same with a key it does not know.
    pub fn provider_with_key(&self, key: &str) -> Provider {
        provider(self.api, key)
    }

    /// The key of its API.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// Makes a zone that has its SOA and NS.
    pub fn create_zone(&self, zone: &str) -> Result<()> {
        let body = json!({
            "name": format!("{zone}."),
            "kind": "Native",
            "nameservers": [format!("ns.{zone}.")],
        });
        self.call("POST", "zones", &body).map(drop)
    }

    /// Sets records by hand, as a stranger would; none removes the set.
    /// Values in PowerDNS's own form.
    pub fn set(&self, zone: &str, name: &str, kind: &str, ttl: u32, values: &[&str]) -> Result<()> {
        let records: Vec<Value> = values.iter().map(|content| json!({"content": content, "disabled": false})).collect();
        let body = json!({"rrsets": [{
            "name": format!("{name}."),
            "type": kind,
            "ttl": ttl,
            "changetype": if values.is_empty() { "DELETE" } else { "REPLACE" },
            "records": records,
        }]});
        self.call("PATCH", &format!("zones/{zone}."), &body).map(drop)
    }

    /// The values of one set as PowerDNS stores them, sorted.
    pub fn get(&self, zone: &str, name: &str, kind: &str) -> Result<Vec<String>> {
        let zone: Value = serde_json::from_str(&self.call("GET", &format!("zones/{zone}."), &Value::Null)?)?;
        let mut values = Vec::new();
        for set in zone["rrsets"].as_array().into_iter().flatten() {
            if set["name"] == format!("{name}.") && set["type"] == kind {
                for record in set["records"].as_array().into_iter().flatten() {
                    values.push(record["content"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        values.sort();
        Ok(values)
    }

    /// Whether it has the zone.
    pub fn has_zone(&self, zone: &str) -> Result<bool> {
        Ok(self.call("GET", "zones", &Value::Null)?.contains(&format!("\"{zone}.\"")))
    }

    /// Kills it; its zones stay for [`Pdns::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same ports.
    pub fn restart(&mut self) -> Result<()> {
        let server = program("pdns_server").context("PowerDNS went away")?;
        self.process.kill();
        self.process = launch(&server, self.directory.path(), self.dns, self.api)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if self.call("GET", "", &Value::Null).is_ok() {
                return Ok(());
            }
            if self.process.has_ended() {
                let log = std::fs::read_to_string(self.directory.path().join("log"))?;
                bail!("PowerDNS ended: {log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("PowerDNS did not answer within {} s", START_TIMEOUT.as_secs())
    }

    /// One call of the HTTP API.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/api/v1/servers/localhost/{path}");
        let mut stream = TcpStream::connect(self.api)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "{method} {} HTTP/1.0\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            path.trim_end_matches('/'),
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, content) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("PowerDNS answered {status} to {method} {path}: {content}");
        }
        Ok(content.to_owned())
    }
}

fn provider(api: SocketAddr, key: &str) -> Provider {
    Provider::new("octodns_powerdns.PowerDnsProvider")
        .setting("host", api.ip().to_string())
        .setting("port", api.port())
        .setting("mode_of_operation", "native")
        .secret("api_key", Secret::new(key))
}

fn create_database(path: &Path) -> Result<()> {
    // Python's own SQLite: no client program or library is needed
    const CODE: &str = "import sqlite3, sys\n\
        sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())";
    let status = Command::new("python3")
        .args(["-I", "-c", CODE])
        .arg(path)
        .arg(SCHEMA)
        .status()
        .context("Failed to run python3")?;
    if !status.success() {
        bail!("The database of PowerDNS could not be made");
    }
    Ok(())
}

fn launch(server: &Path, directory: &Path, dns: SocketAddr, api: SocketAddr) -> Result<Running> {
    let log = std::fs::File::create(directory.join("log"))?;
    // the key goes into a file: PowerDNS would take it in argv too
    let config = directory.join("pdns.conf");
    std::fs::write(
        &config,
        format!(
            "launch=gsqlite3\ngsqlite3-database={dir}/zones.sqlite3\nsocket-dir={dir}\n\
             local-address={dns_ip}\nlocal-port={dns_port}\napi=yes\napi-key={KEY}\n\
             webserver=yes\nwebserver-address={api_ip}\nwebserver-port={api_port}\n\
             webserver-allow-from=127.0.0.0/8\ndaemon=no\nguardian=no\nsecurity-poll-suffix=\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
             expand-alias=no\nreceiver-threads=1\ndistributor-threads=1\n",
            dir = directory.display(),
            dns_ip = dns.ip(),
            dns_port = dns.port(),
            api_ip = api.ip(),
            api_port = api.port(),
        ),
    )?;
    Running::start(
        Command::new(server)
            .arg(format!("--config-dir={}", directory.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log),
    )
}
