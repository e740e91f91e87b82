//! The parameter check, with the error texts of Proxmox's `JSONSchema.pm`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::format;
use crate::parameter::{Format, Kind, Parameter};
use crate::version::PveVersion;
use crate::words::Words;

/// Error texts by parameter, as in the `errors` map of a 400 answer.
pub type Errors = BTreeMap<String, String>;

const UNKNOWN: &str = "property is not defined in schema and the schema does not allow additional properties";
const MISSING: &str = "property is missing and it is not optional";

/// A value as Perl sees it: numbers are text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given<'a> {
    Null,
    Text(Cow<'a, str>),
    Boolean(bool),
    Array(&'a [Value]),
    Object,
}

impl<'a> From<&'a str> for Given<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Value> for Given<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => Self::Text(Cow::Owned(number_text(number))),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::Array(items),
            Value::Object(_) => Self::Object,
        }
    }
}

/// A JSON number as Perl prints it: `1.0` is `1`.
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
            format!("{float:.0}")
        }
        _ => number.to_string(),
    }
}

impl Given<'_> {
    /// What Perl's `ref` says of a value that is no text.
    fn reference(&self) -> Option<&'static str> {
        match self {
            Self::Null | Self::Text(_) => None,
            Self::Boolean(_) => Some("JSON::PP::Boolean"),
            Self::Array(_) => Some("ARRAY"),
            Self::Object => Some("HASH"),
        }
    }
}

/// Two errors of one parameter are joined by a backslash and an `n`, as Proxmox does.
fn add(errors: &mut Errors, path: &str, error: impl Into<String>) {
    let error = error.into();
    errors.entry(path.to_owned()).and_modify(|first| *first = format!("{first}\\n{error}")).or_insert(error);
}

/// Checks all values of an object, or of a property string (`path` is then the parameter's name).
pub(crate) fn object(
    path: &str,
    schema: &BTreeMap<String, Arc<Parameter>>,
    values: &BTreeMap<String, Given<'_>>,
    additional: bool,
    version: PveVersion,
    words: &Words,
    errors: &mut Errors,
) {
    let below = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    for (key, parameter) in schema {
        property(&below(key), parameter, values.get(key).unwrap_or(&Given::Null), words, errors);
    }
    for key in values.keys() {
        match schema.get(key) {
            Some(parameter) => {
                if let Some(other) = &parameter.requires
                    && matches!(values.get(other), None | Some(Given::Null))
                {
                    let key = below(key);
                    // The text became clearer in pve-common of 2025-07-29, the time of 9.0.
                    let error = if version < PveVersion::new(9, 0) {
                        format!("missing property - '{key}' requires this property")
                    } else {
                        format!("missing property required by '{key}'")
                    };
                    add(errors, &below(other), error);
                }
            }
            None if additional => {}
            None => add(errors, &below(key), UNKNOWN),
        }
    }
}

fn property(path: &str, parameter: &Parameter, value: &Given<'_>, words: &Words, errors: &mut Errors) {
    if parameter.alias.is_some() {
        return;
    }
    let text = match value {
        Given::Null => {
            if !parameter.optional {
                add(errors, path, MISSING);
            }
            return;
        }
        Given::Text(text) => text,
        other => return structured(path, parameter, other, errors),
    };
    if let Err(error) = plain(path, parameter, text, words) {
        add(errors, path, error);
    }
}

/// Arrays, objects and JSON booleans.
fn structured(path: &str, parameter: &Parameter, value: &Given<'_>, errors: &mut Errors) {
    let kind = parameter.kind.as_str();
    match (parameter.kind, value) {
        (Kind::Boolean, Given::Boolean(_)) => {}
        (Kind::List, Given::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(reference) = Given::from(item).reference() {
                    add(errors, &format!("{path}[{index}]"), format!("type check ('string') failed - got {reference}"));
                }
            }
        }
        (Kind::List, _) => add(errors, path, format!("type check ('{kind}') failed")),
        (_, other) => {
            let reference = other.reference().unwrap_or_default();
            add(errors, path, format!("type check ('{kind}') failed - got {reference}"));
        }
    }
}

/// Whether text is a number, and if so which; as Perl's schema check sees it.
fn number(text: &str) -> Option<f64> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let digits = body.strip_prefix(['+', '-']).unwrap_or(body);
    let sound = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if sound { body.parse().ok() } else { None }
}

fn is_integer(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let digits = body.strip_prefix(['+', '-']).unwrap_or(body);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn plain(path: &str, parameter: &Parameter, text: &str, words: &Words) -> Result<(), String> {
    let kind = parameter.kind;
    let typed = match kind {
        Kind::String => true,
        Kind::Integer => is_integer(text),
        Kind::Number => number(text).is_some(),
        Kind::Boolean => matches!(text, "0" | "1"),
        Kind::List => return Err("type check ('array') failed".to_owned()),
    };
    if !typed {
        return Err(format!("type check ('{}') failed - got '{text}'", kind.as_str()));
    }
    match &parameter.format {
        Some(Format::Named(name)) => format::check(name, text, words),
        Some(Format::Properties { format, .. }) => format.parse(text, path).map(drop),
        None => Ok(()),
    }
    .map_err(|error| format!("invalid format - {error}"))?;
    if parameter.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
        return Err("value does not match the regex pattern".to_owned());
    }
    let length = text.chars().count();
    if let Some(longest) = parameter.max_length.filter(|longest| length > *longest) {
        return Err(format!("value may only be {longest} characters long"));
    }
    if let Some(shortest) = parameter.min_length.filter(|shortest| length < *shortest) {
        return Err(format!("value must be at least {shortest} characters long"));
    }
    if let Some(number) = number(text) {
        if let Some(maximum) = parameter.maximum.filter(|maximum| number > *maximum) {
            return Err(format!("value must have a maximum value of {maximum}"));
        }
        if let Some(minimum) = parameter.minimum.filter(|minimum| number < *minimum) {
            return Err(format!("value must have a minimum value of {minimum}"));
        }
    }
    if !parameter.choices.is_empty() && !parameter.choices.iter().any(|choice| choice == text) {
        let choices = parameter.choices.join(", ");
        return Err(format!("value '{text}' does not have a value in the enumeration '{choices}'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_perl_takes_for_numbers() {
        for text in ["1", "-1", "+1", "1.", ".5", "1.5", "1e3", "1.5E-3", "1\n"] {
            assert!(number(text).is_some(), "{text:?}");
        }
        for text in ["", "x", "1x", "inf", "nan", "0x10", "1 ", "--1", "."] {
            assert!(number(text).is_none(), "{text:?}");
        }
        assert!(is_integer("-12"));
        assert!(!is_integer("1.5"));
    }
}
