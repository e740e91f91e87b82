//! A BIND that takes dynamic updates signed with TSIG.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::{Running, free_port, loopback, program};
use crate::authoritative::Authoritative;
use crate::{Provider, RecordKey, RecordName, RecordType, Secret};

/// `fedi` in a HMAC-SHA256 key, for nothing but tests.
const KEY: &str = "ZmVkaS10ZXN0LWtleS1mb3ItYmluZC1vbi1sb29wYmFjaw==";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running BIND with one primary zone.
#[derive(Debug)]
pub struct Bind {
    process: Running,
    directory: TempDir,
    address: SocketAddr,
}

impl Bind {
    /// Starts one with `zone`, whose further records are zone file lines;
    /// `None`, with a skip said, when it is not installed.
    pub async fn start(zone: &str, lines: &str) -> Result<Option<Self>> {
        let Some(server) = program("named") else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let address = loopback(free_port()?);
        write_files(directory.path(), address, zone, lines)?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let process = Running::start(
            Command::new(server)
                .args(["-g", "-n", "1", "-c"])
                .arg(directory.path().join("named.conf"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        let mut bind = Self { process, directory, address };
        bind.wait_until_ready(zone).await?;
        Ok(Some(bind))
    }

    /// Where it answers DNS and takes updates.
    pub fn dns(&self) -> SocketAddr {
        self.address
    }

    /// An octoDNS provider that talks to it.
    pub fn provider(&self) -> Provider {
        self.provider_with_key(KEY)
    }

    /// The same with another key, in base64.
    pub fn provider_with_key(&self, key: &str) -> Provider {
        Provider::new("octodns_bind.Rfc2136Provider")
            .setting("host", self.address.ip().to_string())
            .setting("port", self.address.port())
            .setting("timeout", 5)
            .setting("key_name", "fedi")
            .setting("key_algorithm", "hmac-sha256")
            .secret("key_secret", Secret::new(key))
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    async fn wait_until_ready(&mut self, zone: &str) -> Result<()> {
        let servers = Authoritative::new([self.address]);
        let key = RecordKey::new(RecordName::new(zone)?, RecordType::Ns);
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if servers.ask(&key).await.iter().any(|seen| seen.answer.is_ok()) {
                return Ok(());
            }
            if self.process.has_ended() {
                let log = std::fs::read_to_string(self.directory.path().join("log"))?;
                bail!("BIND ended: {log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("BIND did not answer within {} s", START_TIMEOUT.as_secs())
    }
}

fn write_files(directory: &Path, address: SocketAddr, zone: &str, lines: &str) -> Result<()> {
    let dir = directory.display();
    let port = address.port();
    std::fs::write(
        directory.join("named.conf"),
        format!(
            "options {{\n  directory \"{dir}\";\n  pid-file \"{dir}/named.pid\";\n  \
             session-keyfile \"{dir}/session.key\";\n  managed-keys-directory \"{dir}\";\n  \
             listen-on port {port} {{ {ip}; }};\n  listen-on-v6 {{ none; }};\n  \
             recursion no;\n  notify no;\n  dnssec-validation no;\n}};\ncontrols {{ }};\n\
             key \"fedi\" {{ algorithm hmac-sha256; secret \"{KEY}\"; }};\n\
             zone \"{zone}\" {{ type primary; file \"{dir}/zone\"; \
             allow-update {{ key \"fedi\"; }}; allow-transfer {{ key \"fedi\"; }}; }};\n",
            ip = address.ip(),
        ),
    )?;
    std::fs::write(
        directory.join("zone"),
        format!(
            "$ORIGIN {zone}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n\
             ns A 127.0.0.1\n{lines}\n"
        ),
    )?;
    Ok(())
}
