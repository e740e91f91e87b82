//! Between fedi's records and those of `octodns-client`.
//!
//! fedi names sets below their zone and writes names in values without a final dot;
//! the client has absolute names everywhere.

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_model::resource::{RecordSet, Records};
use octodns_client as client;

/// Records of one zone in the client's types, in the same order.
pub(super) struct Sets {
    pub(super) zone: client::ZoneName,
    pub(super) sets: Vec<client::RecordSet>,
}

impl Sets {
    /// Takes over `records`.
    ///
    /// # Errors
    /// A name or a value that cannot be in DNS, [`DriverErrorKind::Invalid`].
    pub(super) fn new(records: &Records) -> Result<Self, DriverError> {
        let invalid = |error: &(dyn std::error::Error + 'static)| {
            let message = format!("Failed to read the DNS records of `{}`", records.deployment);
            DriverError::new(DriverErrorKind::Invalid, message).because(error)
        };
        let zone = client::ZoneName::new(records.zone.as_str()).map_err(|error| invalid(&error))?;
        let mut sets = Vec::new();
        for set in &records.sets {
            let name = zone.name(&set.name).map_err(|error| invalid(&error))?;
            let kind = client::RecordType::from(set.kind.clone());
            let made = client::RecordSet::new(name, kind, set.ttl, &set.values);
            sets.push(made.map_err(|error| invalid(&error))?);
        }
        Ok(Self { zone, sets })
    }

    pub(super) fn keys(&self) -> Vec<client::RecordKey> {
        self.sets.iter().map(client::RecordSet::key).collect()
    }

    /// The set of this name and type.
    pub(super) fn get(&self, key: &client::RecordKey) -> Option<&client::RecordSet> {
        self.sets.iter().find(|set| set.key() == *key)
    }
}

/// What was found in the place of `wanted`, in fedi's types. Values that mean the same
/// keep the spelling in which they are wanted.
pub(super) fn found(wanted: &RecordSet, canonical: &client::RecordSet, found: &client::RecordSet) -> RecordSet {
    let values = if found.values == canonical.values {
        wanted.values.clone()
    } else {
        let mut values: Vec<String> = found.values.iter().map(|value| shorten(&found.kind, value)).collect();
        values.sort();
        values
    };
    RecordSet { name: wanted.name.clone(), kind: wanted.kind.clone(), ttl: found.ttl, values }
}

/// A value without the final dot of the name that it ends in.
fn shorten(kind: &client::RecordType, value: &str) -> String {
    use client::RecordType::{Cname, Mx, Ns, Ptr, Srv};
    match kind {
        Cname | Mx | Ns | Ptr | Srv if !value.ends_with(" .") && value != "." => {
            value.strip_suffix('.').unwrap_or(value).to_owned()
        }
        _ => value.to_owned(),
    }
}

/// One line of a zone file for each record of `set`, for people to copy.
pub(super) fn zone_file_lines(set: &client::RecordSet) -> Vec<String> {
    let line = |value: &String| match set.kind {
        client::RecordType::Txt => format!("{} {} IN TXT {}", set.name.fqdn(), set.ttl, quoted(value)),
        _ => format!("{} {} IN {} {value}", set.name.fqdn(), set.ttl, set.kind),
    };
    set.values.iter().map(line).collect()
}

/// Text as zone files want it: strings of at most 255 characters (RFC 1035, section 3.3).
fn quoted(text: &str) -> String {
    // Only ASCII gets here.
    let parts: Vec<String> =
        text.as_bytes().chunks(255).map(|part| format!("\"{}\"", String::from_utf8_lossy(part))).collect();
    parts.join(" ")
}

/// An error of the client, for the operation that `message` tells of.
pub(super) fn failed(message: String, error: &client::Error) -> DriverError {
    use client::Error;
    let kind = match error {
        Error::Conflict { .. } => DriverErrorKind::Foreign,
        Error::Drift { .. } => DriverErrorKind::Drift,
        Error::Auth { .. } => DriverErrorKind::Denied,
        Error::Unavailable { .. }
        | Error::Timeout { .. }
        | Error::Venv(client::VenvError::Install { .. } | client::VenvError::Busy { .. }) => {
            DriverErrorKind::Unavailable
        }
        Error::TooMuchChange { .. }
        | Error::Validation { .. }
        | Error::Config { .. }
        | Error::NotFound { .. }
        | Error::Venv(_) => DriverErrorKind::Invalid,
        Error::Provider { .. } | Error::Protocol { .. } => DriverErrorKind::Failed,
    };
    let mut failed = DriverError::new(kind, message).because(error);
    if let Some(hint) = error.hint() {
        failed = failed.hint(hint);
    }
    match error.effect() {
        client::Effect::Nothing => failed,
        effect => failed.left(format!("In the zone, {effect}")),
    }
}

#[cfg(test)]
mod tests {
    use fedi_model::name::{DeploymentName, Domain, HostName};

    use super::*;

    fn records(sets: Vec<RecordSet>) -> Records {
        Records {
            deployment: DeploymentName::new("matrix").unwrap(),
            host: HostName::new("proxmox1").unwrap(),
            zone: Domain::new("example.test").unwrap(),
            sets,
        }
    }

    fn set(name: &str, kind: &str, value: &str) -> RecordSet {
        RecordSet { name: name.into(), kind: kind.into(), ttl: 300, values: vec![value.into()] }
    }

    #[test]
    fn names_are_made_absolute_and_back() {
        let wanted = set("_matrix-fed._tcp", "SRV", "0 10 8448 Matrix.example.test");
        let sets = Sets::new(&records(vec![wanted.clone()])).unwrap();
        assert_eq!(sets.sets[0].to_string(), "_matrix-fed._tcp.example.test 300 SRV 0 10 8448 matrix.example.test.");
        assert_eq!(found(&wanted, &sets.sets[0], &sets.sets[0]), wanted, "the same keeps its spelling");
        let other = Sets::new(&records(vec![set("_matrix-fed._tcp", "SRV", "0 10 8448 old.example.test")])).unwrap();
        assert_eq!(found(&wanted, &sets.sets[0], &other.sets[0]).values, ["0 10 8448 old.example.test"]);
    }

    #[test]
    fn a_value_that_cannot_be_is_said() {
        let error = Sets::new(&records(vec![set("", "A", "nowhere")])).err().unwrap();
        assert_eq!(error.kind, DriverErrorKind::Invalid);
        assert_eq!(error.causes, ["`nowhere` is no A value: it is no IPv4 address"]);
    }

    #[test]
    fn lines_can_be_pasted_into_a_zone_file() {
        let sets = Sets::new(&records(vec![
            set("", "CAA", "0 issue \"ca.test\""),
            set("key", "TXT", &"x".repeat(300)),
            set("www", "CNAME", "example.test"),
        ]));
        let lines: Vec<String> = sets.unwrap().sets.iter().flat_map(zone_file_lines).collect();
        assert_eq!(lines[0], "example.test. 300 IN CAA 0 issue \"ca.test\"");
        assert_eq!(lines[1].matches('"').count(), 4, "two strings");
        assert_eq!(lines[2], "www.example.test. 300 IN CNAME example.test.");
    }
}
