//! What the orchestrator and `fedi-guest serve` say to each other: one JSON
//! object a line over the standard streams of an SSH session.
//!
//! ```text
//! guest   {"hello":{"protocol":1,"version":"0.1.0"}}
//! client  {"hello":{"protocol":1,"version":"0.1.0"}}
//! client  {"id":1,"op":"lease_show","app":"matrix"}
//! guest   {"id":1,"ok":{...}}
//! client  {"id":2,"op":"activate",...}
//! guest   {"id":2,"event":{"output":{"line":"setting up /etc..."}}}
//! guest   {"id":2,"error":{"kind":"busy","message":"...","hint":"..."}}
//! ```
//!
//! Both sides say hello first and may do so at once. A guest refuses a client
//! whose protocol is newer than its own; a client refuses a guest likewise.
//! Requests are answered in order, each by any number of events and exactly one
//! `ok` or `error`. Fields that a reader does not know are ignored, so that
//! replies can grow within a protocol version.
//!
//! A client that closes its side, or goes away, calls off the state operation that
//! is under way; other operations go on to their end.

mod error;
mod ops;
mod reply;
mod secret;
mod state;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use error::{ErrorKind, ErrorReply};
pub use ops::{
    Activate, ActivationShow, Call, Cancel, Confirm, FactsRequest, Gate, GateAction, GenerationsRequest, HealthRequest,
    LeaseGrant, LeaseRevoke, LeaseShow, Op, Ping, Prune, Rollback, RunHook, SealSystem, SecretsDeliver, SecretsSettle,
    StageSystem, UnitsRequest,
};
pub use reply::{
    Activation, Address, Facts, Filesystem, Gated, Generation, Generations, Health, HookResult, Lease, LeaseState,
    Leases, ManifestFacts, Memory, OperatingSystem, Phase, Pong, Problem, Pruned, Reason, SealedSystem,
    SecretDelivered, SecretFacts, SecretState, StagedSystem, SystemFacts, Unit, Units,
};
pub use secret::{Secret, SecretValue};
pub use state::{
    BackupAttempt, BackupConfig, BackupConfigure, BackupStatus, BackupStatusRequest, RepositoryAccess, RestLogin,
    S3Access, SftpAccess, StateCapture, StateCaptured, StateClear, StateCleared, StatePause, StatePaused, StatePlace,
    StatePlaces, StatePlacesFound, StateRestore, StateResume, StateVerified, StateVerifiedItem, StateVerify,
};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;

/// Longest line either side accepts, in bytes. A request with every secret of an
/// application stays far below it.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// The first line of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
    /// Version of the sender's program, for messages only.
    pub version: String,
}

impl Hello {
    /// The hello of this build.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Refuses a peer that speaks a newer protocol than this build.
    pub fn check(&self) -> Result<(), ProtocolError> {
        if self.protocol == 0 || self.protocol > PROTOCOL {
            return Err(ProtocolError::Newer { protocol: self.protocol, version: self.version.clone() });
        }
        Ok(())
    }
}

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The peer is newer.
    #[error("The other side speaks protocol {protocol} (fedi {version}); this one speaks {PROTOCOL} (fedi {})", env!("CARGO_PKG_VERSION"))]
    Newer {
        /// The peer's protocol.
        protocol: u32,
        /// The peer's program version.
        version: String,
    },
    /// The line is no message of this protocol. Says where, never what it held.
    #[error("Not a protocol message: {what}{}", place(*column))]
    Malformed {
        /// In words, without any of the line's content.
        what: &'static str,
        /// Byte in the line, from 1; 0 where unknown.
        column: usize,
    },
    /// A request's fields do not fit. Never made of a request that carries secrets.
    #[error("Request `{op}` does not fit: {what}")]
    Fields {
        /// The operation.
        op: &'static str,
        /// What is wrong, with the value that is.
        what: String,
    },
    /// The line is longer than [`MAX_LINE`].
    #[error("A line is longer than {MAX_LINE} bytes")]
    TooLong,
}

fn place(column: usize) -> String {
    if column == 0 { String::new() } else { format!(" (column {column})") }
}

impl ProtocolError {
    /// Keeps only the place of a JSON error: its text can quote the input, and
    /// the input can be a secret.
    pub(crate) fn from_json(error: &serde_json::Error) -> Self {
        let what = match error.classify() {
            serde_json::error::Category::Io => "it could not be read",
            serde_json::error::Category::Syntax => "invalid JSON",
            serde_json::error::Category::Data => "a field is missing, unknown or of the wrong type",
            serde_json::error::Category::Eof => "it ends too early",
        };
        Self::Malformed { what, column: error.column() }
    }
}

/// A line from the orchestrator to the guest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub enum ClientLine {
    /// The first line.
    Hello {
        /// Who speaks.
        hello: Hello,
    },
    /// A request.
    Request(Request),
}

/// A request: a number that its answers carry, and what to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// Chosen by the client; not used twice in a session.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub op: Op,
}

/// What could be read of a line that is no valid request: enough to answer it.
#[derive(Debug)]
pub struct BadRequest {
    /// The request's number, where it could be read.
    pub id: Option<u64>,
    /// The name of an operation that this guest does not know.
    pub unknown_op: Option<String>,
    /// What is wrong.
    pub error: ProtocolError,
}

impl ClientLine {
    /// Reads one line, without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, BadRequest> {
        #[derive(Deserialize)]
        struct Envelope {
            hello: Option<Hello>,
            id: Option<u64>,
            op: Option<String>,
        }
        let bad = |error: &serde_json::Error| BadRequest {
            id: None,
            unknown_op: None,
            error: ProtocolError::from_json(error),
        };
        let envelope: Envelope = serde_json::from_slice(line).map_err(|error| bad(&error))?;
        if let Some(hello) = envelope.hello {
            return Ok(Self::Hello { hello });
        }
        let (Some(id), Some(name)) = (envelope.id, envelope.op) else {
            let error = ProtocolError::Malformed { what: "it needs `id` and `op`, or `hello`", column: 0 };
            return Err(BadRequest { id: envelope.id, unknown_op: None, error });
        };
        if !Op::NAMES.contains(&name.as_str()) {
            let error = ProtocolError::Malformed { what: "unknown operation", column: 0 };
            return Err(BadRequest { id: Some(id), unknown_op: Some(name), error });
        }
        match serde_json::from_slice::<Op>(line) {
            Ok(op) => Ok(Self::Request(Request { id, op })),
            Err(error) => {
                let error = match Op::NAMES.iter().find(|known| **known == name) {
                    Some(op) if !Op::carries_secrets(op) => ProtocolError::Fields { op, what: error.to_string() },
                    _ => ProtocolError::from_json(&error),
                };
                Err(BadRequest { id: Some(id), unknown_op: None, error })
            }
        }
    }
}

/// A line from the guest to the orchestrator.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestLine {
    /// The first line.
    Hello(Hello),
    /// Something that happened while a request is being carried out.
    Event {
        /// The request.
        id: u64,
        /// What happened.
        event: Event,
    },
    /// The one answer to a request.
    Response {
        /// The request; `None` where its line could not be read that far.
        id: Option<u64>,
        /// The result. Its type is the [`Call::Reply`] of the request.
        result: Result<Value, ErrorReply>,
    },
}

/// Something that happened while a request is being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A line that an activation or a hook wrote.
    Output {
        /// Without its line feed; bytes that are not UTF-8 are replaced.
        line: String,
    },
    /// An activation has reached another phase.
    Phase {
        /// The new phase.
        phase: Phase,
    },
    /// How far a capture or a restore is; never more than about twice a second.
    Progress {
        /// What is going on: `dump synapse`.
        what: String,
        /// Bytes done.
        bytes: u64,
        /// Of how many, where that is known; an estimate for databases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of_bytes: Option<u64>,
        /// Files, rows or objects done, where they are counted.
        #[serde(default)]
        count: u64,
        /// Bytes a second since it began.
        #[serde(default)]
        rate: u64,
    },
    /// What the operator should know after the run, too.
    Notice {
        /// In words.
        message: String,
    },
    /// Something that this build does not know: the guest's is newer.
    Other,
}

#[derive(Serialize, Deserialize)]
struct RawGuestLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hello: Option<Hello>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "event")]
    event: Option<Event>,
    // `"ok": null` is an answer, hence no plain `Option<Value>`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReply>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// An event; one of a kind that this build does not know is no reason to end a conversation.
fn event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Event>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let kind = value.as_object().and_then(|object| object.keys().next());
    if kind.is_some_and(|kind| !["output", "phase", "progress", "notice"].contains(&kind.as_str())) {
        return Ok(Some(Event::Other));
    }
    serde_json::from_value(value).map(Some).map_err(D::Error::custom)
}

impl Serialize for GuestLine {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = RawGuestLine { hello: None, id: None, event: None, ok: None, error: None };
        match self.clone() {
            Self::Hello(hello) => raw.hello = Some(hello),
            Self::Event { id, event } => (raw.id, raw.event) = (Some(id), Some(event)),
            Self::Response { id, result: Ok(value) } => (raw.id, raw.ok) = (id, Some(value)),
            Self::Response { id, result: Err(error) } => (raw.id, raw.error) = (id, Some(error)),
        }
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GuestLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawGuestLine::deserialize(deserializer)?;
        match raw {
            RawGuestLine { hello: Some(hello), id: None, event: None, ok: None, error: None } => Ok(Self::Hello(hello)),
            RawGuestLine { hello: None, id: Some(id), event: Some(event), ok: None, error: None } => {
                Ok(Self::Event { id, event })
            }
            RawGuestLine { hello: None, id, event: None, ok: Some(value), error: None } => {
                Ok(Self::Response { id, result: Ok(value) })
            }
            RawGuestLine { hello: None, id, event: None, ok: None, error: Some(error) } => {
                Ok(Self::Response { id, result: Err(error) })
            }
            _ => Err(D::Error::custom("a line needs exactly one of `hello`, `event`, `ok` and `error`")),
        }
    }
}

impl GuestLine {
    /// Reads one line, without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        serde_json::from_slice(line).map_err(|error| ProtocolError::from_json(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back() {
        let line = br#"{"id":7,"op":"lease_show","app":"matrix","from_the_future":1}"#;
        let ClientLine::Request(request) = ClientLine::parse(line).unwrap() else { panic!("no request") };
        assert_eq!(request.id, 7);
        let text = serde_json::to_vec(&request).unwrap();
        assert_eq!(ClientLine::parse(&text).unwrap(), ClientLine::Request(request));
    }

    #[test]
    fn an_unknown_operation_is_named() {
        let bad = ClientLine::parse(br#"{"id":3,"op":"explode"}"#).unwrap_err();
        assert_eq!((bad.id, bad.unknown_op.as_deref()), (Some(3), Some("explode")));
    }

    #[test]
    fn what_a_newer_guest_tells_is_no_reason_to_end_a_conversation() {
        let event = |text: &str| GuestLine::parse(format!(r#"{{"id":1,"event":{text}}}"#).as_bytes());
        let other = GuestLine::Event { id: 1, event: Event::Other };
        assert_eq!(event(r#"{"weather":{"is":"fine"}}"#).unwrap(), other);
        let known = GuestLine::Event { id: 1, event: Event::Notice { message: "a".to_owned() } };
        assert_eq!(event(r#"{"notice":{"message":"a","colour":"red"}}"#).unwrap(), known);
        assert!(event(r#"{"notice":{"colour":"red"}}"#).is_err());
        let error = br#"{"id":1,"error":{"kind":"too_windy","message":"It blows","since":"today"}}"#;
        let GuestLine::Response { result: Err(error), .. } = GuestLine::parse(error).unwrap() else { panic!() };
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Other, "It blows"));
    }

    #[test]
    fn a_newer_peer_is_refused() {
        let newer = Hello { protocol: PROTOCOL + 1, version: "9.0".to_owned() };
        assert!(newer.check().unwrap_err().to_string().contains("protocol 2"));
        assert!(Hello::ours().check().is_ok());
    }

    #[test]
    fn ok_null_is_an_answer() {
        let line = GuestLine::parse(br#"{"id":1,"ok":null}"#).unwrap();
        assert_eq!(line, GuestLine::Response { id: Some(1), result: Ok(Value::Null) });
        assert!(GuestLine::parse(br#"{"id":1}"#).is_err());
        assert!(GuestLine::parse(br#"{"id":1,"ok":1,"error":{"kind":"io","message":"x"}}"#).is_err());
    }
}
