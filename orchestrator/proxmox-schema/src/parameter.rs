//! What a parameter of an endpoint, or a key of a property string, may be.

use std::sync::Arc;

use regex::Regex;

use crate::property_format::PropertyFormat;

/// The JSON type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    /// A list of strings.
    List,
}

impl Kind {
    /// The word of Proxmox's schema, as it stands in error texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "array",
        }
    }
}

/// A pattern over the whole value.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As the table writes it.
    pub source: String,
    pub(crate) regex: Regex,
}

impl Pattern {
    /// Perl's `m/^SOURCE$/`: `$` also stands before a last line break, and alternatives are not grouped.
    pub(crate) fn new(source: &str) -> Result<Self, Box<regex::Error>> {
        let regex = Regex::new(&format!("^{source}\n?$"))?;
        Ok(Self { source: source.to_owned(), regex })
    }

    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

/// What the text of a parameter must look like beyond its type.
#[derive(Clone, Debug)]
pub enum Format {
    /// A named check, see [`crate::format`].
    Named(String),
    /// A property string. `name` is set where Proxmox registers it under one.
    Properties { name: Option<String>, format: Arc<PropertyFormat> },
}

/// Another name of a key in a property string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub target: String,
    /// This key gets the alias itself as value: `virtio=MAC` sets `model` to `virtio`.
    pub key: Option<String>,
}

/// The numbered options that a parameter belongs to: `scsi` 0 to 30.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub prefix: String,
    pub last: u16,
}

/// One parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub kind: Kind,
    pub optional: bool,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    /// In characters.
    pub min_length: Option<usize>,
    /// In characters.
    pub max_length: Option<usize>,
    /// The allowed values, in the order of Proxmox's error texts; empty if free.
    pub choices: Vec<String>,
    pub format: Option<Format>,
    pub pattern: Option<Pattern>,
    /// Proxmox's default, sometimes in words.
    pub default: Option<String>,
    /// Another parameter that must be given with this one.
    pub requires: Option<String>,
    /// In a property string: the key that may be left out.
    pub default_key: bool,
    pub alias: Option<Alias>,
    pub series: Option<Series>,
}

impl Parameter {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            optional: false,
            minimum: None,
            maximum: None,
            min_length: None,
            max_length: None,
            choices: Vec::new(),
            format: None,
            pattern: None,
            default: None,
            requires: None,
            default_key: false,
            alias: None,
            series: None,
        }
    }

    /// The property string inside this parameter, if it is one.
    pub fn property_format(&self) -> Option<&PropertyFormat> {
        match &self.format {
            Some(Format::Properties { format, .. }) => Some(format),
            _ => None,
        }
    }
}
