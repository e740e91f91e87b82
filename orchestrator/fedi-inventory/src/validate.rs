//! Holds a file against its shape: unknown and missing keys, wrong types, values
//! that no type takes. Tells all of it at once, each with its place.

use std::net::IpAddr;

use fedi_model::{AppName, DeploymentName, Domain, HostName, SecretName};
use ipnet::IpNet;

use crate::document::{Document, Entry, Node, Place, Value};
use crate::problem::Problem;
use crate::schema::{Key, Shape};
use crate::suggest::{list, suggest, suggestion};

/// What does not fit.
#[derive(Debug, Default)]
pub(crate) struct Misfits {
    /// All of it.
    pub(crate) problems: Vec<Problem>,
    /// The keys among it that nothing is known by, with the key that was meant, where
    /// one is near.
    pub(crate) unknown: Vec<(Place, Option<String>)>,
}

/// Everything in `document` that does not fit `shape`.
pub(crate) fn validate(document: &Document, shape: &Shape) -> Misfits {
    let mut validator = Validator { document, problems: Vec::new(), unknown: Vec::new() };
    validator.value(&document.root, shape, &Place::root(), document.root.start);
    Misfits { problems: validator.problems, unknown: validator.unknown }
}

struct Validator<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
    unknown: Vec<(Place, Option<String>)>,
}

impl Validator<'_> {
    /// `offset` is where a problem with the value as a whole is shown: at its key.
    fn value(&mut self, node: &Node, shape: &Shape, place: &Place, offset: usize) {
        match (shape, &node.value) {
            (Shape::Anything, value) => self.anything(value, place, offset),
            (Shape::Integer { min, max }, Value::Integer(number)) => self.integer(*number, *min, *max, place, offset),
            (Shape::Text(kind), Value::String(text)) => {
                if let Some(reason) = kind.as_deref().and_then(|kind| refuse_text(kind, text)) {
                    self.add(offset, place, reason, None);
                }
            }
            (Shape::Choice { words, forms }, value) => {
                let words: Vec<&str> = words.iter().map(|word| word.word.as_str()).collect();
                self.choice(value, &words, forms, place, offset);
            }
            (Shape::List(items), Value::Array(nodes)) => {
                for (index, node) in nodes.iter().enumerate() {
                    self.value(node, items, &place.index(index), node.start);
                }
            }
            (Shape::Table { keys, others }, Value::Table(entries)) => {
                self.table(entries, keys, others.as_deref(), place, offset);
            }
            (Shape::Boolean, Value::Boolean) | (Shape::Number, Value::Integer(_) | Value::Float(_)) => {}
            (_, value) => self.wrong_type(value, wanted(shape), place, offset),
        }
    }

    fn table(&mut self, entries: &[Entry], keys: &[Key], others: Option<&Shape>, place: &Place, offset: usize) {
        let mut meant = Vec::new();
        for entry in entries {
            let place = place.key(&entry.key);
            if let Some(key) = keys.iter().find(|key| key.name == entry.key) {
                self.value(&entry.node, &key.shape, &place, entry.start);
            } else if let Some(shape) = others {
                self.value(&entry.node, shape, &place, entry.start);
            } else {
                let is_free = |name: &&str| entries.iter().all(|entry| entry.key != *name) && !meant.contains(name);
                let free: Vec<&str> = keys.iter().map(|key| key.name.as_str()).filter(is_free).collect();
                let near = suggest(&entry.key, free.iter().copied());
                self.add(entry.start, &place, format!("Unknown key `{place}`"), suggestion(&entry.key, free));
                if let Some(key) = keys.iter().find(|key| Some(key.name.as_str()) == near) {
                    self.value(&entry.node, &key.shape, &place, entry.start);
                }
                meant.extend(near);
                self.unknown.push((place, near.map(str::to_owned)));
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            let there = entries.iter().any(|entry| entry.key == key.name) || meant.contains(&key.name.as_str());
            if !there {
                let place = place.key(&key.name);
                let hint = first_sentence(&key.description);
                self.add(offset, &place, format!("Missing key `{place}`"), hint);
            }
        }
    }

    fn choice(&mut self, value: &Value, words: &[&str], forms: &[Key], place: &Place, offset: usize) {
        let names = || forms.iter().map(|form| form.name.as_str());
        match value {
            Value::String(text) if !words.is_empty() => {
                if words.contains(&text.as_str()) {
                    return;
                }
                let hint = suggestion(text, words.iter().copied().chain(names()));
                self.add(offset, place, format!("`{place}` cannot be `{text}`"), hint);
            }
            Value::Table(entries) if !forms.is_empty() => match entries.as_slice() {
                [entry] => {
                    let place = place.key(&entry.key);
                    if let Some(form) = forms.iter().find(|form| form.name == entry.key) {
                        self.value(&entry.node, &form.shape, &place, entry.start);
                    } else {
                        let hint = suggestion(&entry.key, names());
                        self.add(entry.start, &place, format!("Unknown key `{place}`"), hint);
                    }
                }
                _ => self.add(offset, place, format!("`{place}` needs exactly one of {}", list(names())), None),
            },
            // What stands here instead may be a secret, so it is never quoted.
            value => {
                let hint = match (names().next(), place.to_string().rsplit('.').next()) {
                    (Some(form), Some(key)) => Some(format!("Write `{key} = {{ {form} = \"...\" }}`")),
                    _ => None,
                };
                let wanted = match (words.is_empty(), forms.is_empty()) {
                    (true, _) => format!("a table with one of {}", list(names())),
                    (false, true) => format!("one of {}", list(words.iter().copied())),
                    (false, false) => {
                        format!("one of {}, or a table with one of {}", list(words.iter().copied()), list(names()))
                    }
                };
                self.add(offset, place, format!("`{place}` must be {wanted}, not {}", value.kind()), hint);
            }
        }
    }

    fn integer(&mut self, number: Option<i64>, min: i64, max: i64, place: &Place, offset: usize) {
        if number.is_some_and(|number| (min..=max).contains(&number)) {
            return;
        }
        let message = if max == i64::MAX {
            format!("`{place}` must be {min} or more")
        } else {
            format!("`{place}` must be between {min} and {max}")
        };
        self.add(offset, place, message, None);
    }

    /// Settings go on as JSON, which knows neither dates nor infinity.
    fn anything(&mut self, value: &Value, place: &Place, offset: usize) {
        match value {
            Value::Datetime => {
                let hint = Some("Write it as a string, in quotes".to_owned());
                self.add(offset, place, format!("`{place}` cannot be a date or time"), hint);
            }
            Value::Float(number) if !number.is_finite() => {
                self.add(offset, place, format!("`{place}` must be a finite number"), None);
            }
            Value::Integer(None) => self.add(offset, place, format!("`{place}` is too large"), None),
            Value::Array(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    self.anything(&node.value, &place.index(index), node.start);
                }
            }
            Value::Table(entries) => {
                for entry in entries {
                    self.anything(&entry.node.value, &place.key(&entry.key), entry.start);
                }
            }
            _ => {}
        }
    }

    fn wrong_type(&mut self, value: &Value, wanted: &str, place: &Place, offset: usize) {
        let hint = match (wanted, value) {
            ("a string", Value::Integer(_) | Value::Float(_) | Value::Boolean | Value::Datetime) => {
                Some("Put it in quotes".to_owned())
            }
            ("a whole number" | "true or false", Value::String(_)) => Some("Write it without quotes".to_owned()),
            ("a list", _) => Some("Put it in brackets: `[...]`".to_owned()),
            _ => None,
        };
        self.add(offset, place, format!("`{place}` must be {wanted}, not {}", value.kind()), hint);
    }

    fn add(&mut self, offset: usize, place: &Place, message: String, hint: Option<String>) {
        let problem = self.document.problem_at(offset, place, message);
        self.problems.push(Problem { hint, ..problem });
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Boolean => "true or false",
        Shape::Integer { .. } => "a whole number",
        Shape::Number => "a number",
        Shape::Text(_) => "a string",
        Shape::List(_) => "a list",
        Shape::Table { .. } => "a table",
        Shape::Anything | Shape::Choice { .. } => "another value",
    }
}

/// Why `text` is no value of the type or format `kind`.
fn refuse_text(kind: &str, text: &str) -> Option<String> {
    match kind {
        "HostName" => HostName::new(text).err().map(|error| error.to_string()),
        "DeploymentName" => DeploymentName::new(text).err().map(|error| error.to_string()),
        "AppName" => AppName::new(text).err().map(|error| error.to_string()),
        "SecretName" => SecretName::new(text).err().map(|error| error.to_string()),
        "Domain" => Domain::new(text).err().map(|error| error.to_string()),
        "ip" => text.parse::<IpAddr>().err().map(|_| format!("`{text}` is no IPv4 or IPv6 address")),
        "cidr" => {
            let error = text.parse::<IpNet>().err();
            error.map(|_| format!("`{text}` is no network; write one as `192.0.2.0/24` or `2001:db8::/64`"))
        }
        _ => None,
    }
}

/// The first sentence of a description, without its full stop.
fn first_sentence(description: &str) -> Option<String> {
    let line = description.replace('\n', " ");
    let end = line.find(". ").unwrap_or(line.trim_end_matches('.').len());
    let sentence = line[..end].trim();
    (!sentence.is_empty()).then(|| sentence.to_owned())
}
