//! One connection: requests one after the other until a limit, an error or silence ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::head::{Head, Step};
use super::request;
use super::response::Response;
use super::upload;
use crate::sim::Sim;
use crate::traffic::RequestRecord;

/// Longest line that is kept in memory at all.
const LINE_LIMIT: usize = 64 << 10;
/// Room made for each read, bytes.
const CHUNK: usize = 64 << 10;

/// Bytes in and out, with the time limit on silence.
pub(crate) struct Wire<S> {
    stream: S,
    pub(crate) buffer: Vec<u8>,
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Reads more into the buffer; `false` when the peer is done or silent for too long.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(CHUNK);
        let read = self.stream.read_buf(&mut self.buffer);
        match tokio::time::timeout(self.idle, read).await {
            Ok(count) => Ok(count? > 0),
            Err(_) => Ok(false),
        }
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.buffer[seen..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=seen + end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line.into_iter().map(char::from).collect()));
            }
            seen = self.buffer.len();
            if seen > LINE_LIMIT || !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Option<Vec<u8>>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.drain(..length).collect()))
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Says nothing more and closes when the other side has been silent for long enough.
    async fn stall(&mut self) -> io::Result<()> {
        tokio::time::sleep(self.idle).await;
        self.close().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// Serves a connection until it ends.
pub(crate) async fn run(
    sim: Arc<Sim>,
    node: String,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    _peer: SocketAddr,
) -> io::Result<()> {
    let idle = sim.limits.idle;
    stream.set_nodelay(true)?;
    let mut first = [0_u8; 1];
    match tokio::time::timeout(idle, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        _ => return Ok(()),
    }
    // A TLS record of a handshake begins with 22.
    if first[0] == 22 {
        let Ok(stream) = tokio::time::timeout(idle, acceptor.accept(stream)).await else {
            return Ok(());
        };
        requests(&sim, &node, &mut Wire { stream: stream?, buffer: Vec::new(), idle }, true).await
    } else {
        requests(&sim, &node, &mut Wire { stream, buffer: Vec::new(), idle }, false).await
    }
}

/// What reading a head came to.
enum Read {
    Head(Head),
    Refused(Option<Head>, u16, String),
    Stalled,
    Ended,
}

async fn read_head<S: AsyncRead + AsyncWrite + Unpin>(sim: &Sim, wire: &mut Wire<S>) -> io::Result<Read> {
    let line = loop {
        match wire.line().await? {
            Some(line) if line.is_empty() => {}
            Some(line) => break line,
            None => return Ok(Read::Ended),
        }
    };
    let mut head = match Head::start(&line) {
        Ok(head) => head,
        Err((status, text)) => return Ok(Read::Refused(None, status, text)),
    };
    loop {
        let Some(line) = wire.line().await? else { return Ok(Read::Ended) };
        match head.add(&line, &sim.limits) {
            Step::More => {}
            Step::Done => return Ok(Read::Head(head)),
            Step::Refuse(status, text) => return Ok(Read::Refused(Some(head), status, text)),
            Step::Stall => return Ok(Read::Stalled),
        }
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send>(
    sim: &Arc<Sim>,
    node: &str,
    wire: &mut Wire<S>,
    encrypted: bool,
) -> io::Result<()> {
    let mut left = sim.limits.requests;
    loop {
        let head = match read_head(sim, wire).await? {
            Read::Head(head) => head,
            Read::Ended => return wire.close().await,
            Read::Stalled => return wire.stall().await,
            Read::Refused(head, status, text) => {
                let protocol = head.map_or_else(|| "HTTP/1.0".to_owned(), |head| head.protocol());
                send(sim, wire, Response::error(status, text), &protocol, false).await?;
                return wire.close().await;
            }
        };
        left = left.saturating_sub(1);
        let keep = match head.header("Connection") {
            Some(value) if value.to_ascii_lowercase().contains("close") => false,
            Some(_) => left > 0,
            None => left > 0 && head.minor >= 1,
        };
        if let Some(text) = refused_method(&head) {
            let body = if text.starts_with("method") { Vec::new() } else { text.clone().into_bytes() };
            let response = Response { body, ..Response::bare(501, text) };
            send(sim, wire, response, &head.protocol(), false).await?;
            return wire.close().await;
        }
        if !encrypted {
            let Some(host) = head.header("Host") else { return wire.stall().await };
            let get = matches!(head.method.as_str(), "GET" | "HEAD");
            let (status, text) = if get { (301, "Moved Permanently") } else { (308, "Permanent Redirect") };
            let location = Some(format!("https://{host}{}", head.target));
            let response = Response { location, ..Response::error(status, text) };
            send(sim, wire, response, &head.protocol(), keep).await?;
            return wire.close().await;
        }
        let Some(response) = answer(sim, node, wire, &head).await? else {
            return wire.stall().await;
        };
        if response.cut {
            return wire.close().await;
        }
        let keep = keep && response.status < 400 && !(head_is_upload(&head) && head.content_length().is_some());
        send(sim, wire, response, &head.protocol(), keep).await?;
        if !keep {
            return wire.close().await;
        }
    }
}

fn refused_method(head: &Head) -> Option<String> {
    if !matches!(head.method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
        return Some(format!("method '{}' not available", head.method));
    }
    match head.header("Transfer-Encoding") {
        Some(encoding) if encoding.eq_ignore_ascii_case("chunked") => {
            Some("chunked transfer encoding not supported".to_owned())
        }
        Some(encoding) => Some(format!("Unknown transfer encoding '{encoding}'")),
        None => None,
    }
}

fn head_is_upload(head: &Head) -> bool {
    head.method == "POST" && head.path_and_query().0.trim_end_matches('/').ends_with("/upload")
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    sim: &Sim,
    wire: &mut Wire<S>,
    response: Response,
    protocol: &str,
    keep: bool,
) -> io::Result<()> {
    let now = http_date(sim.clock.seconds());
    wire.write(&response.bytes(protocol, keep, &now)).await
}

fn http_date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(0);
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}

/// Runs one request; `None` means no answer at all.
async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send>(
    sim: &Arc<Sim>,
    node: &str,
    wire: &mut Wire<S>,
    head: &Head,
) -> io::Result<Option<Response>> {
    let at = sim.clock.now();
    let prepared = {
        let _busy = sim.clock.busy();
        let _mark = sim.clock.request();
        match request::prepare(sim, head).await {
            Ok(auth) => Ok(auth),
            Err(response) => Err(delayed(sim, response).await),
        }
    };
    let (response, user) = match prepared {
        Err(response) => (response, None),
        Ok(auth) => {
            let user = Some(auth.user.clone()).filter(|user| !user.is_empty());
            let raw = match body(sim, wire, head, &auth).await? {
                Body::Bytes(body) => Ok(request::raw(head, auth).with_body(body)),
                Body::Upload(upload) => Ok(request::raw(head, auth).with_upload(upload)),
                Body::Refused(response) => Err(response),
                Body::Silence => return Ok(None),
            };
            let response = match raw {
                Err(response) => response,
                Ok(raw) => {
                    let _busy = sim.clock.busy();
                    let _mark = sim.clock.request();
                    let response = request::handle(sim, node, raw).await;
                    delayed(sim, response).await
                }
            };
            (response, user)
        }
    };
    sim.traffic.add(RequestRecord {
        method: head.method.clone(),
        path: head.target.clone(),
        status: if response.cut { 0 } else { response.status },
        user,
        at,
    });
    Ok(Some(response))
}

async fn delayed(sim: &Sim, mut response: Response) -> Response {
    let delay = std::mem::take(&mut response.delay);
    if delay > 0 {
        sim.clock.sleep(Duration::from_secs(delay)).await;
    }
    response
}

enum Body {
    Bytes(Vec<u8>),
    Upload(upload::Uploaded),
    Refused(Response),
    Silence,
}

async fn body<S: AsyncRead + AsyncWrite + Unpin + Send>(
    sim: &Arc<Sim>,
    wire: &mut Wire<S>,
    head: &Head,
    auth: &request::AuthInfo,
) -> io::Result<Body> {
    let Some(length) = head.content_length() else { return Ok(Body::Bytes(Vec::new())) };
    if !matches!(head.method.as_str(), "POST" | "PUT") {
        let text = format!("Unexpected content for method '{}'", head.method);
        return Ok(Body::Refused(Response::error(501, text)));
    }
    let (kind, boundary) = head.content_type();
    if auth.upload {
        return match (kind.as_deref(), boundary) {
            (Some("multipart/form-data"), Some(boundary)) => {
                upload::receive(sim, wire, head, &boundary, length).await.map(|received| match received {
                    upload::Received::File(upload) => Body::Upload(upload),
                    upload::Received::Refused(response) => Body::Refused(response),
                    upload::Received::Ended => Body::Silence,
                })
            }
            _ => Ok(Body::Silence),
        };
    }
    if length > sim.limits.body {
        return Ok(Body::Refused(Response::error(501, "for data too large")));
    }
    match kind.as_deref() {
        None | Some("application/x-www-form-urlencoded" | "application/json") => {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            Ok(wire.exactly(length).await?.map_or(Body::Silence, Body::Bytes))
        }
        Some(_) => {
            let given = head.header("Content-Type").unwrap_or_default();
            let text = format!("upload 'Content-Type '{given}' not implemented");
            Ok(Body::Refused(Response::error(506, text)))
        }
    }
}
