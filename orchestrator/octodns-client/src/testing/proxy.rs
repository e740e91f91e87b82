//! A TCP proxy that breaks at the moment a request of one kind goes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What happens to the request that trips the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives; the connection closes.
    LoseRequest,
    /// It arrives and is carried out; its answer is lost.
    LoseAnswer,
    /// It never arrives and nothing happens, for ever.
    Stall,
    /// It never arrives, and neither does anything after it.
    LoseRequestAndDie,
    /// It is carried out, its answer is lost and so is everything after it.
    LoseAnswerAndDie,
    /// It waits for [`Proxy::release`], then goes on as if nothing had been.
    Hold,
}

/// An HTTP request that changes something.
pub fn is_http_write(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PATCH ") || bytes.starts_with(b"POST ")
}

/// An HTTP request that only reads.
pub fn is_http_read(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GET ")
}

/// A DNS message over TCP whose operation is UPDATE (RFC 2136).
pub fn is_dns_update(bytes: &[u8]) -> bool {
    bytes.get(4).is_some_and(|flags| (flags >> 3) & 0xf == 5)
}

/// A proxy in front of one server; gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    trips_on: fn(&[u8]) -> bool,
    fault: Fault,
    tripped: AtomicUsize,
    dead: AtomicBool,
    armed: AtomicBool,
    held: Notify,
    released: Notify,
}

impl Proxy {
    /// Forwards to `upstream` until a client sends bytes that `trips_on` calls
    /// the ones; that request suffers `fault`, once.
    pub async fn start(upstream: SocketAddr, trips_on: fn(&[u8]) -> bool, fault: Fault) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream,
            trips_on,
            fault,
            tripped: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            armed: AtomicBool::new(true),
            held: Notify::new(),
            released: Notify::new(),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !shared.dead.load(Ordering::SeqCst) {
                    tokio::spawn(Arc::clone(&shared).serve(client));
                }
            }
        });
        Ok(Self { address, state, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the fault happened.
    pub fn tripped(&self) -> usize {
        self.state.tripped.load(Ordering::SeqCst)
    }

    /// Waits until a request is being held.
    pub async fn held(&self) {
        self.state.held.notified().await;
    }

    /// Lets the held request go on.
    pub fn release(&self) {
        self.state.released.notify_one();
    }

    /// Everything works from now on.
    pub fn heal(&self) {
        self.state.armed.store(false, Ordering::SeqCst);
        self.state.dead.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// Errors end the connection, which is all a client may know.
    async fn serve(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.upstream).await else {
            return;
        };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut request = vec![0; 65536];
        let mut answer = vec![0; 65536];
        loop {
            tokio::select! {
                read = from_client.read(&mut request) => {
                    let Ok(length @ 1..) = read else { return };
                    let bytes = &request[..length];
                    if (self.trips_on)(bytes) && self.armed.swap(false, Ordering::SeqCst) {
                        self.tripped.fetch_add(1, Ordering::SeqCst);
                        if matches!(self.fault, Fault::LoseRequestAndDie | Fault::LoseAnswerAndDie) {
                            self.dead.store(true, Ordering::SeqCst);
                        }
                        match self.fault {
                            Fault::Stall => std::future::pending().await,
                            Fault::Hold => {
                                self.held.notify_one();
                                self.released.notified().await;
                            }
                            Fault::LoseRequest | Fault::LoseRequestAndDie => return,
                            Fault::LoseAnswer | Fault::LoseAnswerAndDie => {
                                let _ = to_server.write_all(bytes).await;
                                // the rest of the request, until it is answered
                                tokio::select! {
                                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                                    _ = from_server.read(&mut answer) => {}
                                }
                                return;
                            }
                        }
                    }
                    if to_server.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                read = from_server.read(&mut answer) => {
                    let Ok(length @ 1..) = read else { return };
                    if to_client.write_all(&answer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
