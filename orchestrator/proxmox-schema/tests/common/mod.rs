//! What the tests of this crate share.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// A file of the data folder beside the checkout; says so where it is not there.
pub(crate) fn shared_data(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            skip(&format!("{name} is not beside the checkout ({error})"));
            None
        }
    }
}

fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    let Ok(log) = std::env::var("FEDI_SKIP_LOG") else {
        return;
    };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
    std::io::Write::write_all(&mut file, format!("proxmox-schema: {reason}\n").as_bytes()).unwrap();
}

#[allow(dead_code, reason = "not every test file decodes")]
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A form as Proxmox reads it: split at `&` and `;`, a value ends at a second `=`, a repeated key is an array,
/// a key without `=` is undefined.
#[allow(dead_code, reason = "not every test file reads forms")]
pub(crate) fn form(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    for part in text.split(['&', ';']).filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => {
                let value = value.split('=').next().unwrap_or_default();
                (key, Value::String(decode(&value.replace('+', " "))))
            }
            None => (part, Value::Null),
        };
        let key = decode(key);
        let value = match fields.remove(&key) {
            None => value,
            Some(Value::Array(mut items)) => {
                items.push(value);
                Value::Array(items)
            }
            Some(first) => Value::Array(vec![first, value]),
        };
        fields.insert(key, value);
    }
    fields
}
