//! A bare HTTPS client: what goes over the wire is what the test says, and every byte of the answer is kept.
#![allow(dead_code)]
#![allow(clippy::format_push_string, reason = "simplest for a request head")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Accepts exactly the certificate with this fingerprint.
#[derive(Debug)]
struct Pinned(String);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pairs: Vec<String> = Sha256::digest(end_entity).iter().map(|byte| format!("{byte:02X}")).collect();
        if pairs.join(":") == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// An answer; status 0 means that the connection ended without one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, or as a string when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::from(self.text()))
    }

    pub(crate) fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    pub(crate) fn upid(&self) -> String {
        self.data().as_str().unwrap_or_else(|| panic!("no UPID in {self:?}")).to_owned()
    }

    pub(crate) fn error(&self, parameter: &str) -> String {
        self.json()["errors"][parameter].as_str().unwrap_or_default().to_owned()
    }
}

/// A client for one node.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    connector: TlsConnector,
}

/// An open connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, fingerprint: &str) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(fingerprint.to_owned())))
            .with_no_client_auth();
        Self { address, connector: TlsConnector::from(Arc::new(config)) }
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connector.connect(name, stream).await.unwrap();
        Connection { stream, buffer: Vec::new() }
    }

    /// One request on a connection of its own.
    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        connection.request(method, path, headers, body).await
    }
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed already is something to find out by reading.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 10.99.0.1:8006\r\n");
        for (name, value) in headers.iter().filter(|(name, _)| name != "Content-Length") {
            head += &format!("{name}: {value}\r\n");
        }
        let announced = headers.iter().any(|(name, _)| name == "Content-Length");
        if !body.is_empty() || announced {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).await;
        self.read().await
    }

    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }

    /// Reads one answer.
    pub(crate) async fn read(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.fill().await {
                return Answer::default();
            }
        };
        let head: String = self.buffer[..end].iter().copied().map(char::from).collect();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let (_, status) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
        let (code, reason) = status.split_once(' ').unwrap_or((status, ""));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer =
            Answer { status: code.parse().unwrap_or(0), reason: reason.to_owned(), headers, body: Vec::new() };
        match answer.header("Content-Length").first().and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => {
                while self.buffer.len() < length && self.fill().await {}
                let length = length.min(self.buffer.len());
                answer.body = self.buffer.drain(..length).collect();
            }
            None if answer.header("Connection").contains(&"Keep-Alive") => {}
            None => {
                while self.fill().await {}
                answer.body = std::mem::take(&mut self.buffer);
            }
        }
        answer
    }

    /// Everything until the server closes, and how long that took from now.
    pub(crate) async fn until_closed(&mut self) -> (Vec<u8>, Duration) {
        let start = Instant::now();
        while self.fill().await {}
        (std::mem::take(&mut self.buffer), start.elapsed())
    }
}

/// A client with a token, for tests that only care about calls.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) token: String,
    /// The clock to move while waiting.
    pub(crate) clock: Option<fedi_sim::Clock>,
}

impl Api {
    pub(crate) fn new(sim: &fedi_sim::SimHandle, token: &str) -> Self {
        let client = Client::new(sim.address(), sim.fingerprint());
        Self { client, token: sim.token(token).unwrap(), clock: Some(sim.clock().clone()) }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let mut headers = vec![("Authorization".to_owned(), format!("PVEAPIToken={}", self.token))];
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        if !body.is_null() {
            headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        self.client.raw(method, &format!("/api2/json{path}"), &headers, &bytes).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, Value::Null).await
    }

    /// Polls a task until it has ended; returns its exit text.
    pub(crate) async fn wait(&self, upid: &str) -> String {
        let path = format!("/nodes/{}/tasks/{}/status", upid.split(':').nth(1).unwrap(), encode(upid));
        for _ in 0..2000 {
            let data = self.get(&path).await.data();
            if data["status"] == "stopped" {
                return data["exitstatus"].as_str().unwrap().to_owned();
            }
            match &self.clock {
                Some(clock) => clock.advance(Duration::from_millis(100)).await,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("{upid} never ended");
    }
}

pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A multipart body as browsers and reqwest make it.
pub(crate) fn multipart(boundary: &str, fields: &[(String, String)], file: Option<(&str, &str, &[u8])>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes(),
        );
    }
    if let Some((field, name, bytes)) = file {
        body.extend(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
            .into_bytes(),
        );
        body.extend_from_slice(bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    body
}
