//! The reference of all keys, `docs/inventory.md`, made from the types.

use std::fmt::Write;

use serde_json::Value;

use crate::schema::{FileKind, Key, Shape};

const HEAD: &str = "\
<!-- Made from the types in fedi_model::inventory; do not edit.
     FEDI_UPDATE_DOCS=1 cargo test -p fedi-inventory --test docs renews it. -->
# The inventory

The folder that an operator keeps in git: `fedi.toml`, a `hosts/<host>/host.toml` for every place where
virtual machines run, and a `hosts/<host>/deployments/<name>.toml` for every application on a domain. A name
is the name of its folder or file. Beside a deployment an optional `<name>.nix` says what TOML cannot.

`fedi init` makes an inventory, `fedi host add` and `fedi deploy` add to it, and every command reads it whole
first: a key that nobody knows, a wrong type, an address outside its network is refused with its file and line,
all at once. Editors check and complete the files by the JSON Schemas in `docs/schema/`.

Paths: `~/` is the home folder, `$NAME/` an environment variable. Other relative paths start where the key says.
Secrets never stand in these files; a key that needs one names a file or a variable.
";

/// The reference, in Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for kind in FileKind::ALL {
        let _ = write!(text, "\n## `{}`\n", kind.pattern());
        if let Shape::Table { keys, .. } = kind.shape() {
            section(&mut text, "", keys);
        }
    }
    text
}

/// The keys of a table, then its tables.
fn section(text: &mut String, path: &str, keys: &[Key]) {
    let (tables, values): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| table(&key.shape).is_some());
    for key in values {
        value(text, key);
    }
    for key in tables {
        let Some((suffix, keys)) = table(&key.shape) else { continue };
        let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        let header = match suffix {
            Suffix::None => format!("[{path}]"),
            Suffix::List => format!("[[{path}]]"),
            Suffix::Named => format!("[{path}.<name>]"),
        };
        let required = if key.required { " *Required.*" } else { "" };
        let _ = write!(text, "\n### `{header}`\n\n{}{required}\n", line(&key.description));
        let path = if matches!(suffix, Suffix::Named) { format!("{path}.<name>") } else { path };
        section(text, &path, keys);
    }
}

/// How a table is written.
enum Suffix {
    /// `[a]`.
    None,
    /// `[[a]]`.
    List,
    /// `[a.<name>]`.
    Named,
}

/// The keys of what is written as a table of its own.
fn table(shape: &Shape) -> Option<(Suffix, &[Key])> {
    match shape {
        Shape::Table { keys, others: None } => Some((Suffix::None, keys)),
        Shape::List(items) => match &**items {
            Shape::Table { keys, others: None } => Some((Suffix::List, keys)),
            _ => None,
        },
        Shape::Table { keys, others: Some(others) } if keys.is_empty() => match &**others {
            Shape::Table { keys, others: None } => Some((Suffix::Named, keys)),
            _ => None,
        },
        _ => None,
    }
}

fn value(text: &mut String, key: &Key) {
    let mut facts = vec![type_of(&key.shape)];
    match &key.default {
        _ if key.required => facts.push("required".to_owned()),
        Some(default) if !is_empty(default) => facts.push(format!("default `{default}`")),
        _ => {}
    }
    let _ = write!(text, "\n**`{}`** ({})\\\n{}\n", key.name, facts.join("; "), line(&key.description));
    if let Shape::Choice { words, forms } = &key.shape {
        for word in words {
            let _ = writeln!(text, "- `\"{}\"`: {}", word.word, line(&word.description));
        }
        for form in forms {
            let _ = writeln!(text, "- `{{ {} = {} }}`: {}", form.name, example(&form.shape), line(&form.description));
        }
    }
}

fn type_of(shape: &Shape) -> String {
    match shape {
        Shape::Anything => "any value".to_owned(),
        Shape::Boolean => "`true` or `false`".to_owned(),
        Shape::Integer { .. } => "whole number".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Text(kind) => match kind.as_deref() {
            Some("ip") => "IPv4 or IPv6 address".to_owned(),
            Some("cidr") => "network".to_owned(),
            Some("Domain") => "domain".to_owned(),
            Some("AppName") => "name".to_owned(),
            _ => "string".to_owned(),
        },
        Shape::Choice { .. } => "one of those below".to_owned(),
        Shape::List(items) => match &**items {
            Shape::Text(None) => "list of strings".to_owned(),
            other => format!("list, each: {}", type_of(other)),
        },
        Shape::Table { others: Some(others), .. } => match &**others {
            Shape::Choice { forms, words } if words.is_empty() => {
                let forms: Vec<String> =
                    forms.iter().map(|form| format!("`{{ {} = {} }}`", form.name, example(&form.shape))).collect();
                format!("table of names, each {}", forms.join(" or "))
            }
            _ => "table of names with any values".to_owned(),
        },
        Shape::Table { .. } => "table".to_owned(),
    }
}

fn example(shape: &Shape) -> &'static str {
    match shape {
        Shape::List(_) => "[\"...\"]",
        _ => "\"...\"",
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A description on one line.
fn line(description: &str) -> String {
    description.replace('\n', " ")
}
