//! One endpoint, and the check of a request's parameters against it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::check::{self, Errors, Given};
use crate::normalised::Normalised;
use crate::parameter::{Format, Kind, Parameter};
use crate::path::PathTemplate;
use crate::permission::Allow;
use crate::syntax;
use crate::version::PveVersion;
use crate::words::Words;

/// The methods of Proxmox's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A method that Proxmox's API does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a method of the Proxmox VE API")]
pub struct NotAMethod(pub String);

impl FromStr for Method {
    type Err = NotAMethod;

    fn from_str(text: &str) -> Result<Self, NotAMethod> {
        match text {
            "GET" => Ok(Self::Get),
            "POST" => Ok(Self::Post),
            "PUT" => Ok(Self::Put),
            "DELETE" => Ok(Self::Delete),
            _ => Err(NotAMethod(text.to_owned())),
        }
    }
}

/// What stands in `data` of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    Null,
    String,
    Integer,
    Object,
    Array,
    /// A task's id, or null where the method was done in time (`background_delay`, `delay`).
    Upid,
    Any,
}

impl FromStr for Returns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "null" => Self::Null,
            "string" => Self::String,
            "integer" => Self::Integer,
            "object" => Self::Object,
            "array" => Self::Array,
            "upid" => Self::Upid,
            "any" => Self::Any,
            other => return Err(format!("`{other}` is nothing that an endpoint returns")),
        })
    }
}

/// One endpoint as one release has it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are Proxmox's own flags")]
pub struct Endpoint {
    pub version: PveVersion,
    pub method: Method,
    /// With placeholders, below `/api2/json`.
    pub path: String,
    /// Proxmox's name of the method, as in its error texts.
    pub name: String,
    /// Runs in pvedaemon, as root.
    pub protected: bool,
    /// Is forwarded to the node named in the path.
    pub proxied: bool,
    pub token_allowed: bool,
    /// Unknown parameters pass.
    pub additional_parameters: bool,
    pub allow: Allow,
    pub returns: Returns,
    /// With the placeholders of the path; numbered options stand here one by one.
    pub parameters: BTreeMap<String, Arc<Parameter>>,
    pub(crate) template: PathTemplate,
    pub(crate) words: Arc<Words>,
}

impl Endpoint {
    /// Whether the answer names a task.
    pub fn starts_task(&self) -> bool {
        self.returns == Returns::Upid
    }

    /// Checks the parameters of a request, those of the path among them (see [`crate::Match::merge`]).
    ///
    /// # Errors
    ///
    /// The `errors` map that Proxmox answers with status 400, text for text.
    pub fn validate(&self, parameters: &Map<String, Value>) -> Result<Normalised, Errors> {
        let joined = self.join_lists(parameters);
        let values = joined.iter().map(|(key, value)| (key.clone(), Given::from(value))).collect();
        let mut errors = Errors::new();
        check::object(
            "",
            &self.parameters,
            &values,
            self.additional_parameters,
            self.version,
            &self.words,
            &mut errors,
        );
        if errors.is_empty() { Ok(Normalised::new(&values)) } else { Err(errors) }
    }

    /// JSON arrays for `-list` strings, and single values for lists, are taken too.
    fn join_lists(&self, parameters: &Map<String, Value>) -> Map<String, Value> {
        let convert = |key: &String, value: &Value| -> Option<Value> {
            let parameter = self.parameters.get(key)?;
            match (&parameter.format, value) {
                (Some(Format::Named(name)), Value::Array(items)) if name.ends_with("-list") => {
                    let texts = items.iter().map(|item| match Given::from(item) {
                        Given::Text(text) => text.into_owned(),
                        _ => String::new(),
                    });
                    Some(Value::String(texts.collect::<Vec<_>>().join(",")))
                }
                (_, Value::String(text)) if parameter.kind == Kind::List && !text.is_empty() => {
                    Some(Value::Array(vec![value.clone()]))
                }
                (_, Value::Number(_)) if parameter.kind == Kind::List => Some(Value::Array(vec![value.clone()])),
                _ => None,
            }
        };
        let pairs = parameters.iter();
        pairs.map(|(key, value)| (key.clone(), convert(key, value).unwrap_or_else(|| value.clone()))).collect()
    }

    /// The numbered options that a name could belong to, as `scsi[0..30]`; for messages.
    pub fn describe(&self, name: &str) -> Option<String> {
        let parameter = self.parameters.get(name)?;
        Some(match &parameter.series {
            Some(series) if syntax::is_numbered(name, &series.prefix, series.last) => {
                format!("{}[0..{}]", series.prefix, series.last)
            }
            _ => name.to_owned(),
        })
    }
}
