//! Checked parameters as the method sees them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::Given;

/// The parameters of a request after the check: text, whatever JSON type the client chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normalised {
    texts: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
}

impl Normalised {
    pub(crate) fn new(values: &BTreeMap<String, Given<'_>>) -> Self {
        let mut normalised = Self::default();
        for (key, value) in values {
            match value {
                Given::Text(text) => {
                    normalised.texts.insert(key.clone(), text.clone().into_owned());
                }
                Given::Boolean(value) => {
                    normalised.texts.insert(key.clone(), if *value { "1" } else { "0" }.to_owned());
                }
                Given::Array(items) => {
                    normalised.lists.insert(key.clone(), items.iter().filter_map(item_text).collect());
                }
                Given::Null | Given::Object => {}
            }
        }
        normalised
    }

    /// The text of a parameter, if it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Perl's truth of a parameter: given, and neither empty nor `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| !matches!(text, "" | "0"))
    }

    /// An integer parameter, if it was given.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)?.trim_end_matches('\n').parse().ok()
    }

    /// The items of a list parameter; empty if it was not given.
    pub fn list(&self, name: &str) -> &[String] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.texts.contains_key(name) || self.lists.contains_key(name)
    }

    /// All text parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

fn item_text(item: &Value) -> Option<String> {
    match Given::from(item) {
        Given::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}
