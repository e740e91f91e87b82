//! What authoritative name servers answer, asked directly: no resolver, no
//! cache, no recursion.
//!
//! Used to see drift quickly, and to wait until a change is visible on every
//! server of a zone.

mod discover;
mod exchange;
mod wait;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use discover::DiscoverError;
pub use wait::{Expected, NotVisible, Unseen, WaitOptions};

use crate::record::{RecordKey, RecordSet};

/// One name server and the addresses it answers on; the first that answers
/// speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its name, or its address where no name is known.
    pub name: String,
    pub addresses: Vec<SocketAddr>,
}

impl NameServer {
    /// The server at `address`.
    pub fn at(address: SocketAddr) -> Self {
        Self { name: address.to_string(), addresses: vec![address] }
    }
}

impl From<SocketAddr> for NameServer {
    fn from(address: SocketAddr) -> Self {
        Self::at(address)
    }
}

impl From<IpAddr> for NameServer {
    /// The server at `address`, port 53.
    fn from(address: IpAddr) -> Self {
        Self { name: address.to_string(), addresses: vec![SocketAddr::new(address, 53)] }
    }
}

/// What a server says about one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The records that are there.
    Records(RecordSet),
    /// The name is an alias; the CNAME found instead.
    Alias(RecordSet),
    /// The name exists without this type. How many seconds a resolver may
    /// remember that (RFC 2308), if said.
    NoData { negative_ttl: Option<u32> },
    /// The name does not exist. As above.
    NxDomain { negative_ttl: Option<u32> },
}

impl Answer {
    /// The records asked for, if there are any.
    pub fn records(&self) -> Option<&RecordSet> {
        match self {
            Self::Records(set) => Some(set),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(set) | Self::Alias(set) => write!(f, "{set}"),
            Self::NoData { .. } => f.write_str("no such record"),
            Self::NxDomain { .. } => f.write_str("no such name"),
        }
    }
}

/// Why a server gave no answer that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answers with this code: SERVFAIL, REFUSED and so on.
    #[error("answers {0}")]
    Failed(String),
    /// It answers without authority for the name.
    #[error("is not authoritative for the name")]
    NotAuthoritative,
    #[error("answers nonsense: {0}")]
    Malformed(String),
}

/// What one server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The server's name.
    pub server: String,
    pub answer: Result<Answer, QueryError>,
}

/// The authoritative servers of a zone.
///
/// ```no_run
/// use octodns_client::authoritative::Authoritative;
/// use octodns_client::{RecordKey, RecordName, RecordType};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let servers = Authoritative::new([([192, 0, 2, 53], 53).into()]);
/// let key = RecordKey::new(RecordName::new("matrix.example.org")?, RecordType::A);
/// for seen in servers.ask(&key).await {
///     match seen.answer {
///         Ok(answer) => println!("{}: {answer}", seen.server),
///         Err(error) => println!("{} {error}", seen.server),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Authoritative {
    servers: Vec<NameServer>,
    attempt: Duration,
}

impl Authoritative {
    /// These addresses, each a server of its own.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::of(addresses.into_iter().map(NameServer::at))
    }

    /// These servers.
    pub fn of(servers: impl IntoIterator<Item = NameServer>) -> Self {
        Self { servers: servers.into_iter().collect(), attempt: Duration::from_millis(1500) }
    }

    /// How long one datagram or connection is waited for; two are tried.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt = timeout;
        self
    }

    pub fn servers(&self) -> &[NameServer] {
        &self.servers
    }

    /// Asks every server at once, in the order given.
    pub async fn ask(&self, key: &RecordKey) -> Vec<Seen> {
        self.ask_all(std::slice::from_ref(key)).await.pop().unwrap_or_default()
    }

    /// Asks every server about every key, all at once; one list per key.
    pub async fn ask_all(&self, keys: &[RecordKey]) -> Vec<Vec<Seen>> {
        let mut tasks = tokio::task::JoinSet::new();
        for (which, key) in keys.iter().enumerate() {
            for (position, server) in self.servers.iter().enumerate() {
                let (server, key, attempt) = (server.clone(), key.clone(), self.attempt);
                tasks.spawn(async move {
                    let answer = ask_server(&server, &key, attempt).await;
                    let name = server.name;
                    (which, position, Seen { server: name, answer })
                });
            }
        }
        let mut found: Vec<(usize, usize, Seen)> = tasks.join_all().await;
        found.sort_by_key(|(which, position, _)| (*which, *position));
        let mut lists = vec![Vec::new(); keys.len()];
        for (which, _, seen) in found {
            lists[which].push(seen);
        }
        lists
    }
}

/// The first of the server's addresses that gives an answer that counts.
async fn ask_server(server: &NameServer, key: &RecordKey, attempt: Duration) -> Result<Answer, QueryError> {
    let mut last = QueryError::Unreachable("it has no address".to_owned());
    for address in &server.addresses {
        match exchange::ask(*address, key, attempt).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}
