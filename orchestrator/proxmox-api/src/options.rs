//! What a client needs to know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::clock::{Clock, SystemClock};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::observe::Observer;
use crate::tls::Trust;

/// What a client needs to know. See [`crate::Client::new`].
#[derive(Clone)]
pub struct Options {
    pub(crate) endpoint: Endpoint,
    pub(crate) trust: Trust,
    pub(crate) credentials: Credentials,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) limits: Limits,
}

/// How much and how long. The defaults fit Proxmox's own limits: it answers a request within 30 seconds or gives
/// it up, has three workers for what changes things, and closes connections that rest for five seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connect: Duration,
    /// For a whole request that reads.
    pub read: Duration,
    /// For a whole request that writes.
    pub write: Duration,
    /// For an upload: without any progress.
    pub upload_stall: Duration,
    /// Requests at once; more wait.
    pub at_once: usize,
    /// Uploads at once; they do not count as requests.
    pub uploads_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(35),
            write: Duration::from_secs(60),
            upload_stall: Duration::from_secs(60),
            at_once: 4,
            uploads_at_once: 2,
        }
    }
}

impl Options {
    pub fn new(endpoint: Endpoint, trust: Trust, credentials: Credentials) -> Self {
        Self {
            endpoint,
            trust,
            credentials,
            clock: Arc::new(SystemClock::new()),
            observer: None,
            limits: Limits::default(),
        }
    }

    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Where the API is: `https://pve.example.org:8006`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads a URL. `https://` and port 8006 may be left out.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::preparation(format!("`{text}` is not the address of an API: {reason}"));
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&full).map_err(|error| wrong(error.to_string()))?;
        if url.scheme() != "https" {
            return Err(wrong("it must begin with https".to_owned()));
        }
        let authority = full.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/');
        if authority.contains('@') {
            return Err(wrong("it must not hold a user or password".to_owned()));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end after the port".to_owned()));
        }
        let says_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        if !says_port && url.set_port(Some(8006)).is_err() {
            return Err(wrong("it has no host".to_owned()));
        }
        Ok(Self(url))
    }

    /// The URL of a path below `/api2/json`, both encoded already.
    pub(crate) fn url(&self, path: &str, query: &str) -> String {
        format!("{}api2/json{path}{query}", self.0)
    }
}

impl fmt::Display for Endpoint {
    /// Always with the port, as the one that a URL leaves out is not Proxmox's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "https://{host}:{}", self.0.port_or_known_default().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_added() {
        let parse = |text| Endpoint::parse(text).unwrap();
        assert_eq!(parse("pve.example.org").to_string(), "https://pve.example.org:8006");
        assert_eq!(parse("https://[2001:db8::1]").to_string(), "https://[2001:db8::1]:8006");
        assert_eq!(
            parse("https://10.0.0.1:8007/").url("/version", "?a=1"),
            "https://10.0.0.1:8007/api2/json/version?a=1"
        );
        assert_eq!(
            parse("https://pve.example.org:443").url("/version", ""),
            "https://pve.example.org/api2/json/version"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(https://)?[a-z0-9.:/@?#\\[\\]-]{0,30}") {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                proptest::prop_assert_eq!(Endpoint::parse(&endpoint.to_string()).unwrap(), endpoint);
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["http://pve:8006", "https://", "https://root@pve:8006", "https://pve:8006/api2/json", "a b"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
