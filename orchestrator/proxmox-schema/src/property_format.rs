//! The schema of a property string: which keys it may have.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::{self, Errors};
use crate::parameter::{Kind, Parameter};
use crate::version::PveVersion;
use crate::words::Words;

/// The keys of a property string such as `net0` or `scsi0`.
#[derive(Debug)]
pub struct PropertyFormat {
    pub name: String,
    pub keys: BTreeMap<String, Arc<Parameter>>,
    pub(crate) version: PveVersion,
    pub(crate) words: Arc<Words>,
}

/// The values of a property string by key: aliases resolved, booleans as `0` and `1`.
pub type Properties = BTreeMap<String, String>;

impl PropertyFormat {
    /// The key that may be left out.
    pub fn default_key(&self) -> Option<&str> {
        self.keys.iter().find(|(_, parameter)| parameter.default_key).map(|(key, _)| key.as_str())
    }

    /// Reads a property string as Proxmox does. `path` is the parameter's name, for the error text.
    ///
    /// The error is what Proxmox prints after `invalid format - `.
    pub fn parse(&self, text: &str, path: &str) -> Result<Properties, String> {
        let properties = self.split(text)?;
        let mut errors = Errors::default();
        let values = properties.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        check::object(path, &self.keys, &values, false, self.version, &self.words, &mut errors);
        if !errors.is_empty() {
            return Err(errors
                .iter()
                .fold("format error\n".to_owned(), |text, (key, error)| format!("{text}{key}: {error}\n")));
        }
        if self.name == "pve-vm-cpu-conf" {
            self.check_cpu(&properties)?;
        }
        Ok(properties)
    }

    /// Prints the values with the default key's first and bare.
    pub fn print(&self, properties: &Properties) -> String {
        let default_key = self.default_key();
        let bare = default_key.and_then(|key| properties.get(key)).cloned();
        let pairs = properties.iter().filter(|(key, _)| Some(key.as_str()) != default_key);
        bare.into_iter().chain(pairs.map(|(key, value)| format!("{key}={value}"))).collect::<Vec<_>>().join(",")
    }

    fn split(&self, text: &str) -> Result<Properties, String> {
        let mut properties = Properties::new();
        let mut bare_seen = false;
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                None => {
                    let key = self.default_key();
                    let key = key.ok_or("value without key, but schema does not define a default key\n")?;
                    // Perl takes "0" for unset here.
                    let taken =
                        bare_seen || properties.get(key).is_some_and(|value| !matches!(value.as_str(), "" | "0"));
                    if taken {
                        return Err(format!("duplicate key in comma-separated list property: {key}\n"));
                    }
                    bare_seen = true;
                    properties.insert(key.to_owned(), self.value_of(key, part));
                }
                Some((key, value)) if !key.is_empty() && is_one_line(value) => {
                    if properties.contains_key(key) {
                        return Err(format!("duplicate key in comma-separated list property: {key}\n"));
                    }
                    let target = self.resolve_alias(key, &mut properties)?;
                    properties.insert(target.to_owned(), self.value_of(target, value));
                }
                Some(_) => return Err("missing key in comma-separated list property\n".to_owned()),
            }
        }
        Ok(properties)
    }

    fn resolve_alias<'a>(&'a self, key: &'a str, properties: &mut Properties) -> Result<&'a str, String> {
        let Some(alias) = self.keys.get(key).and_then(|parameter| parameter.alias.as_ref()) else {
            return Ok(key);
        };
        if let Some(other) = &alias.key
            && properties.insert(other.clone(), key.to_owned()).is_some()
        {
            return Err(format!("key alias '{other}' is already defined\n"));
        }
        if properties.contains_key(&alias.target) {
            return Err(format!("key '{}' is already defined (via alias)\n", alias.target));
        }
        Ok(&alias.target)
    }

    /// Booleans inside property strings may be written in words.
    fn value_of(&self, key: &str, value: &str) -> String {
        let boolean = self.keys.get(key).is_some_and(|parameter| parameter.kind == Kind::Boolean);
        match value.to_ascii_lowercase().as_str() {
            "1" | "on" | "yes" | "true" if boolean => "1".to_owned(),
            "0" | "off" | "no" | "false" if boolean => "0".to_owned(),
            _ => value.to_owned(),
        }
    }

    fn check_cpu(&self, properties: &Properties) -> Result<(), String> {
        let model = properties.get("cputype").filter(|model| !matches!(model.as_str(), "" | "0"));
        let model = model.ok_or("CPU is missing cputype\n")?;
        if !model.starts_with("custom-") && !self.words.holds("cpu-models", model) {
            return Err(format!("Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)\n"));
        }
        if let Some(flags) = properties.get("flags") {
            let known = |flag: &str| self.words.holds("cpu-flags", flag.trim_start_matches(['+', '-']));
            if !flags.split(';').all(known) {
                let flags = self.words.list("cpu-flags").join(", ");
                return Err(format!("VM-specific CPU flags must be a subset of: {flags}\n"));
            }
        }
        if properties.contains_key("reported-model") {
            return Err("Property 'reported-model' not allowed in VM-specific CPU config.\n".to_owned());
        }
        Ok(())
    }
}

/// Perl's `/^([^=]+)=(.+)$/`: something, and no line break but at the end.
fn is_one_line(value: &str) -> bool {
    let value = value.strip_suffix('\n').unwrap_or(value);
    !value.is_empty() && !value.contains('\n')
}
