//! The HTTP server: pveproxy's way of speaking HTTP, down to its limits and its closing of connections.
//!
//! hyper cannot do what pveproxy does (error texts in the reason phrase, answers without a length that end with
//! the connection, silence on a head that is too long), so this reads and writes HTTP/1 itself. Source:
//! `PVE::APIServer::AnyEvent`.

mod connection;
mod form;
mod head;
mod multipart;
mod request;
mod response;
mod tls;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::sim::Sim;
pub(crate) use tls::ServerIdentity;
pub(crate) use upload::Uploaded;

/// pveproxy's limits on connections. They count real seconds, whatever the simulated clock does.
#[derive(Debug, Clone)]
pub struct Limits {
    /// An idle or unfinished connection is closed after this long.
    pub idle: Duration,
    /// Requests on one connection.
    pub requests: u32,
    /// Bytes of a POST or PUT body.
    pub body: u64,
    /// Header lines.
    pub header_lines: usize,
    /// Bytes of all header lines together.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5), requests: 100, body: 512 << 10, header_lines: 64, header_bytes: 8 << 10 }
    }
}

/// Accepts connections for one node until the simulator stops.
pub(crate) async fn serve(sim: Arc<Sim>, node: String, listener: TcpListener) {
    let acceptor = TlsAcceptor::from(sim.identity.server_config.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (sim, node, acceptor) = (sim.clone(), node.clone(), acceptor.clone());
                    connections.spawn(async move {
                        if let Err(error) = connection::run(sim, node, acceptor, stream, peer).await {
                            tracing::debug!(%peer, "connection ended: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("Failed to accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Percent-decoded text.
pub(crate) fn percent_decoded(text: &str) -> String {
    String::from_utf8_lossy(&form::percent_decode(text)).into_owned()
}

/// Where a listener really listens.
pub(crate) fn local_address(listener: &TcpListener) -> std::io::Result<SocketAddr> {
    listener.local_addr()
}
