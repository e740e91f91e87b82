//! A property string without its schema: `virtio=BC:24:11:00:00:01,bridge=vmbr0`.

use std::fmt;
use std::str::FromStr;

/// What stands inside one parameter as `key=value,...`, in order. A first value may stand without a key.
///
/// ```
/// use proxmox_schema::PropertyString;
///
/// let disk = PropertyString::bare("local-lvm:0").with("import-from", "local:import/a.qcow2").with("ssd", 1);
/// assert_eq!(disk.to_string(), "local-lvm:0,import-from=local:import/a.qcow2,ssd=1");
/// assert_eq!(disk.get("ssd"), Some("1"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PropertyString {
    bare: Option<String>,
    pairs: Vec<(String, String)>,
}

/// A text that is no property string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPropertyString {
    #[error("`{0}` has no key before the `=`, or nothing after it")]
    HalfAPair(String),
    #[error("`{0}` is a second value without a key")]
    SecondBare(String),
    #[error("`{0}` is given twice")]
    Twice(String),
}

impl PropertyString {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with the value of the default key.
    pub fn bare(value: impl fmt::Display) -> Self {
        Self { bare: Some(value.to_string()), pairs: Vec::new() }
    }

    /// Sets a key; one that is there already keeps its place.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.set(key, value);
        self
    }

    pub fn set(&mut self, key: &str, value: impl fmt::Display) {
        let value = value.to_string();
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.pairs.push((key.to_owned(), value)),
        }
    }

    /// The value without a key.
    pub fn value(&self) -> Option<&str> {
        self.bare.as_deref()
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// A boolean key, in any of the words that Proxmox takes.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.to_ascii_lowercase().as_str() {
            "1" | "on" | "yes" | "true" => Some(true),
            "0" | "off" | "no" | "false" => Some(false),
            _ => None,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Display for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(bare) = &self.bare {
            f.write_str(bare)?;
            separator = ",";
        }
        for (key, value) in &self.pairs {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for PropertyString {
    type Err = NotAPropertyString;

    fn from_str(text: &str) -> Result<Self, NotAPropertyString> {
        let mut string = Self::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                None if string.bare.is_some() => {
                    return Err(NotAPropertyString::SecondBare(part.to_owned()));
                }
                None => string.bare = Some(part.to_owned()),
                Some((key, value)) if key.is_empty() || value.is_empty() => {
                    return Err(NotAPropertyString::HalfAPair(part.to_owned()));
                }
                Some((key, _)) if string.get(key).is_some() => {
                    return Err(NotAPropertyString::Twice(key.to_owned()));
                }
                Some((key, value)) => string.set(key, value),
            }
        }
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_device_is_read() {
        let net: PropertyString = "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1".parse().unwrap();
        assert_eq!(net.get("virtio"), Some("BC:24:11:00:00:01"));
        assert_eq!(net.flag("firewall"), Some(true));
        assert_eq!(net.value(), None);
        let agent: PropertyString = "1".parse().unwrap();
        assert_eq!(agent.value(), Some("1"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!("bridge=".parse::<PropertyString>().is_err());
        assert!("a,b".parse::<PropertyString>().is_err());
        assert!("a=1,a=2".parse::<PropertyString>().is_err());
    }

    proptest! {
        #[test]
        fn print_and_parse_agree(
            bare in proptest::option::of("[a-z0-9:/.-]{1,12}"),
            pairs in proptest::collection::btree_map("[a-z][a-z0-9-]{0,8}", "[a-zA-Z0-9:/.;=%+-]{1,12}", 0..6),
        ) {
            let mut string = bare.map_or_else(PropertyString::new, PropertyString::bare);
            for (key, value) in &pairs {
                string.set(key, value);
            }
            prop_assert_eq!(string.to_string().parse::<PropertyString>(), Ok(string));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(string) = text.parse::<PropertyString>() {
                prop_assert_eq!(string.to_string().parse::<PropertyString>(), Ok(string));
            }
        }
    }
}
