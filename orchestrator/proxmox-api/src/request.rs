//! What a request is made of: an endpoint of the tables, the placeholders of its path, and parameters.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proxmox_schema::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Everything but the unreserved characters of RFC 3986; a UPID's and a volume's colons and slashes too.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A request to one endpoint. Implement it to call an endpoint that this crate does not know;
/// [`crate::Client::send`] takes any.
pub trait Request: Sync {
    const METHOD: Method;
    /// What stands in `data` of the answer.
    type Answer: DeserializeOwned;

    /// The path with its placeholders, as in `/nodes/{node}/qemu/{vmid}`.
    fn template(&self) -> &'static str;

    /// The placeholders of the path, in its order.
    fn placeholders(&self) -> Vec<String> {
        Vec::new()
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
    }
}

/// The parameters of a request. Booleans are sent as 0 and 1, lists as arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(Map<String, Value>);

impl Parameters {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets the parameter if there is a value.
    #[must_use]
    pub fn with_some<V: Into<Value>>(mut self, name: &str, value: Option<V>) -> Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    /// Sets the parameter to 1 if it is wanted, else leaves Proxmox's default.
    #[must_use]
    pub fn with_flag(self, name: &str, wanted: bool) -> Self {
        if wanted { self.with(name, true) } else { self }
    }

    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::Bool(value) => Value::from(u8::from(value)),
            other => other,
        };
        self.0.insert(name.to_owned(), value);
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// As a query, with its question mark; empty if there are none.
    pub(crate) fn query(&self) -> String {
        let pair = |(name, value): (&String, &Value)| {
            let text = crate::lenient::text_of(value).unwrap_or_default();
            format!("{}={}", encode(name), encode(&text))
        };
        let pairs: Vec<String> = self.0.iter().map(pair).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) template: &'static str,
    /// Below `/api2/json`, encoded.
    pub(crate) path: String,
    pub(crate) parameters: Parameters,
}

impl Call {
    pub(crate) fn of<R: Request>(request: &R) -> Self {
        Self {
            method: R::METHOD,
            template: request.template(),
            path: fill(request.template(), &request.placeholders()),
            parameters: request.parameters(),
        }
    }

    /// GET and DELETE carry their parameters in the query: Proxmox refuses a body there.
    pub(crate) fn query(&self) -> String {
        if self.has_body() { String::new() } else { self.parameters.query() }
    }

    pub(crate) fn has_body(&self) -> bool {
        matches!(self.method, Method::Post | Method::Put)
    }
}

/// Puts values in the place of the placeholders, one by one.
pub(crate) fn fill(template: &str, values: &[String]) -> String {
    let mut values = values.iter();
    let segments = template.split('/').map(|segment| {
        let value = if segment.starts_with('{') { values.next() } else { None };
        value.map_or_else(|| segment.to_owned(), |value| encode(value))
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_encoded() {
        let path = fill("/nodes/{node}/tasks/{upid}/status", &["pve".to_owned(), "UPID:pve:0A:root@pam!t:".to_owned()]);
        assert_eq!(path, "/nodes/pve/tasks/UPID%3Apve%3A0A%3Aroot%40pam%21t%3A/status");
    }

    #[test]
    fn a_query_is_encoded_and_booleans_are_numbers() {
        let parameters = Parameters::new().with("purge", true).with("note", "a b&c").with_some("x", None::<u8>);
        assert_eq!(parameters.query(), "?note=a%20b%26c&purge=1");
        assert_eq!(Parameters::new().query(), "");
    }
}
