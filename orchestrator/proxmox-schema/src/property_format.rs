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

    /// Prints the values, that of the default key first and bare where it can be.
    pub fn print(&self, properties: &Properties) -> String {
        let default_key = self.default_key();
        let bare = |key: &str, value: &str| Some(key) == default_key && !value.contains('=');
        let (first, rest): (Vec<_>, Vec<_>) = properties.iter().partition(|(key, _)| Some(key.as_str()) == default_key);
        let print = |(key, value): (&String, &String)| {
            if bare(key, value) { value.clone() } else { format!("{key}={value}") }
        };
        first.into_iter().chain(rest).map(print).collect::<Vec<_>>().join(",")
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{Method, PveVersion, Schema};

    use super::PropertyFormat;

    fn format_of(option: &str) -> &'static PropertyFormat {
        let schema = Schema::for_version(PveVersion::new(9, 2));
        let create = schema.endpoint(Method::Post, "/nodes/{node}/qemu").unwrap();
        create.parameters[option].property_format().unwrap()
    }

    #[test]
    fn aliases_and_bare_values_are_resolved() {
        let net = format_of("net0").parse("virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=on", "net0").unwrap();
        assert_eq!(net["model"], "virtio");
        assert_eq!(net["macaddr"], "BC:24:11:00:00:01");
        assert_eq!(net["firewall"], "1");
        assert_eq!(format_of("net0").print(&net), "virtio,bridge=vmbr0,firewall=1,macaddr=BC:24:11:00:00:01");
        let disk = format_of("scsi0").parse("volume=local:1,ssd=1", "scsi0").unwrap();
        assert_eq!(disk["file"], "local:1");
    }

    #[test]
    fn the_same_thing_twice_is_refused() {
        let error = |text| format_of("net0").parse(text, "net0").unwrap_err();
        assert_eq!(error("virtio,bridge=a,bridge=b"), "duplicate key in comma-separated list property: bridge\n");
        assert_eq!(error("virtio,e1000"), "duplicate key in comma-separated list property: model\n");
        assert_eq!(error("virtio,e1000=BC:24:11:00:00:01"), "key alias 'model' is already defined\n");
        let memory = format_of("memory").parse("512,1024", "memory").unwrap_err();
        assert_eq!(memory, "duplicate key in comma-separated list property: current\n");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            option in prop::sample::select(vec!["net0", "scsi0", "ipconfig0", "agent", "cpu", "boot", "smbios1", "vga"]),
            text in "[a-z0-9:=,;/._+ \n-]{0,40}|\\PC{0,20}",
        ) {
            let format = format_of(option);
            if let Ok(properties) = format.parse(&text, option) {
                let printed = format.print(&properties);
                prop_assert_eq!(format.parse(&printed, option), Ok(properties));
            }
        }

        #[test]
        fn a_disk_is_read_back(gib in 1u32..10_000, discard: bool, cache in prop::option::of("none|unsafe|writeback")) {
            let mut text = format!("local-lvm:{gib}");
            if discard {
                text.push_str(",discard=on");
            }
            if let Some(cache) = &cache {
                text = format!("{text},cache={cache}");
            }
            let properties = format_of("scsi0").parse(&text, "scsi0").unwrap();
            let printed = format_of("scsi0").print(&properties);
            prop_assert_eq!(properties.get("cache"), cache.as_ref());
            prop_assert_eq!(format_of("scsi0").parse(&printed, "scsi0"), Ok(properties));
        }
    }
}
