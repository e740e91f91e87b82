//! A small HTTPS server with a certificate of its own authority, that answers byte for byte what it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxmox_api::Fingerprint;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// With the query.
    pub(crate) target: String,
    pub(crate) protocol: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Counted from 0.
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Exactly these bytes; the connection stays open.
    Bytes(Vec<u8>),
    /// Exactly these bytes, then the connection is closed.
    Last(Vec<u8>),
    /// The connection is closed without an answer, as after a reply that was lost.
    Drop,
    /// No answer, ever.
    Silence,
}

impl Reply {
    pub(crate) fn ok(data: &serde_json::Value) -> Self {
        Self::json(&serde_json::json!({ "data": data }))
    }

    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::Bytes(answer(200, "OK", &body.to_string()))
    }

    /// Closes the connection behind it, as Proxmox does from 400 on.
    pub(crate) fn error(status: u16, reason: &str, body: &str) -> Self {
        Self::Last(answer(status, reason, body))
    }
}

fn answer(status: u16, reason: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

type Handler = dyn Fn(&Received) -> Reply + Send + Sync;

/// Who a server claims to be.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    authority_pem: String,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Identity {
    /// With a certificate for this name, signed by an authority of its own.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, authority_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        Self {
            certificate: leaf.signed_by(&key, &authority).unwrap().der().clone(),
            key: key.serialize_der(),
            authority_pem: authority.pem(),
            versions: ALL_VERSIONS.to_vec(),
        }
    }

    /// Shows the certificate without having its key.
    pub(crate) fn stolen(mut self) -> Self {
        self.key = rcgen::KeyPair::generate().unwrap().serialize_der();
        self
    }

    /// Speaks only TLS 1.2.
    pub(crate) fn old(mut self) -> Self {
        self.versions = vec![&TLS12];
        self
    }
}

/// A running server; it ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    authority_pem: String,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_as(Identity::new("127.0.0.1"), handler).await
    }

    pub(crate) async fn start_as(
        identity: Identity,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let Identity { certificate, key, authority_pem, versions } = identity;
        let key = ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.into())).unwrap();
        // The key is not compared with the certificate here: that it fits is for the client to find out.
        let certified = CertifiedKey::new(vec![certificate.clone()], key);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared: (Arc<Handler>, _, _) = (Arc::new(handler), received.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, received, connections) = shared.clone();
                let number = connections.fetch_add(1, Ordering::SeqCst);
                served.spawn(serve(acceptor.clone(), stream, number, handler, received));
            }
        });
        Self { address, certificate, authority_pem, received, connections, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    pub(crate) fn authority_pem(&self) -> Vec<u8> {
        self.authority_pem.clone().into_bytes()
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    connection: usize,
    handler: Arc<Handler>,
    received: Arc<Mutex<Vec<Received>>>,
) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    while let Some(mut request) = read(&mut stream).await {
        request.connection = connection;
        let reply = handler(&request);
        received.lock().unwrap().push(request);
        match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reply::Last(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                break;
            }
            Reply::Drop => break,
            Reply::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
        }
    }
    // The client may be gone already.
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut request = Received {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        protocol: first.next()?.to_owned(),
        ..Received::default()
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        request.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = request.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}
