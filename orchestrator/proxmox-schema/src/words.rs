//! Sets of words from the tables that formats check against.

use std::collections::BTreeMap;

/// The `words` blocks that hold for one release.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(BTreeMap<String, Vec<String>>);

impl Words {
    pub(crate) fn add(&mut self, name: &str, word: &str) {
        self.0.entry(name.to_owned()).or_default().push(word.to_owned());
    }

    /// In the order of the table.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn holds(&self, name: &str, word: &str) -> bool {
        self.list(name).iter().any(|known| known == word)
    }
}
