//! Whether two answers agree: status, reason, errors, the shape of the body, a task's exit text.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::common::Answer;
use crate::record::Record;

/// Keys and JSON types of a body. The elements of a list count as a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    Null,
    Bool,
    Number,
    Text,
    List(BTreeSet<Shape>),
    Object(BTreeMap<String, Shape>),
}

impl Shape {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(map) => Self::Object(map.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect()),
        }
    }
}

/// Replaces what differs from run to run: process ids, random names, addresses, hashes of the test's own files.
#[derive(Debug)]
pub(crate) struct Normaliser {
    rules: Vec<(Regex, &'static str)>,
    /// Ours to recorded.
    pub(crate) texts: Vec<(String, String)>,
}

impl Normaliser {
    pub(crate) fn new() -> Self {
        let rules = [
            (r"\.conf\.tmp\.\d+", ".conf.tmp.N"),
            (r"pveupload-[0-9a-f]+", "pveupload-X"),
            (r"tmp_dwnl\.\d+", "tmp_dwnl.N"),
        ];
        Self { rules: rules.map(|(pattern, text)| (Regex::new(pattern).unwrap(), text)).into(), texts: Vec::new() }
    }

    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (ours, recorded) in &self.texts {
            text = text.replace(ours, recorded);
        }
        for (pattern, replacement) in &self.rules {
            text = pattern.replace_all(&text, *replacement).into_owned();
        }
        text
    }
}

fn errors(body: &Value) -> BTreeMap<String, String> {
    let errors = body["errors"].as_object();
    errors
        .into_iter()
        .flatten()
        .map(|(key, text)| (key.clone(), text.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// What an answer gets wrong; empty = it agrees.
pub(crate) fn differences(record: &Record, answer: &Answer, normaliser: &Normaliser) -> Vec<String> {
    let expected = &record.response;
    if expected.error.is_some() {
        return match answer.status {
            0 => Vec::new(),
            status => vec![format!("status {status} for none")],
        };
    }
    let body = if answer.body.is_empty() { Value::from("") } else { answer.json() };
    let mut wrong = Vec::new();
    if expected.status != answer.status {
        wrong.push(format!("status {} for {}", answer.status, expected.status));
    }
    let (ours, theirs) = (normaliser.text(&answer.reason), normaliser.text(&expected.reason));
    if ours != theirs {
        wrong.push(format!("reason `{ours}` for `{theirs}`"));
    }
    let map = |body: &Value| -> BTreeMap<String, String> {
        errors(body).into_iter().map(|(key, text)| (key, normaliser.text(&text))).collect()
    };
    let (ours, theirs) = (map(&body), map(&expected.body));
    if ours != theirs {
        wrong.push(format!("errors {ours:?} for {theirs:?}"));
    }
    let (ours, theirs) = (Shape::of(&body), Shape::of(&expected.body));
    if ours != theirs && expected.status == answer.status {
        let (body, recorded) = only_different(&body, &expected.body);
        wrong.push(format!("shape {} for {}", brief(&body), brief(&recorded)));
    }
    if let (Value::String(ours), Value::String(theirs)) = (&body, &expected.body)
        && !theirs.starts_with('<')
        && normaliser.text(ours) != normaliser.text(theirs)
    {
        wrong.push(format!("text `{ours}` for `{theirs}`"));
    }
    let exit = |body: &Value| body["data"]["exitstatus"].as_str().map(|text| normaliser.text(text));
    let (ours, theirs) = (exit(&body), exit(&expected.body));
    if ours != theirs {
        wrong.push(format!("exit text {ours:?} for {theirs:?}"));
    }
    wrong
}

/// Two lists without the elements that the other one has something like.
fn only_different(ours: &Value, theirs: &Value) -> (Value, Value) {
    let (Some(left), Some(right)) = (ours["data"].as_array(), theirs["data"].as_array()) else {
        return (ours.clone(), theirs.clone());
    };
    let without = |list: &[Value], other: &[Value]| -> Value {
        let known: BTreeSet<Shape> = other.iter().map(Shape::of).collect();
        list.iter().filter(|value| !known.contains(&Shape::of(value))).cloned().collect()
    };
    (without(left, right), without(right, left))
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(700).collect();
    if short.len() < text.len() { format!("{short}...") } else { short }
}
