//! Proxmox's errors in fedi's words: what follows, and what to do.

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use proxmox_api::{Class, Conflict, Error};

use super::ProxmoxHost;

impl ProxmoxHost {
    /// What an error means for whoever was doing `what`.
    pub(super) fn fault(&self, error: &Error, what: impl Into<String>) -> DriverError {
        let host = &self.name;
        let (kind, hint) = match error.class() {
            Class::NotSent | Class::Transient => {
                (DriverErrorKind::Unavailable, Some(format!("Is `{}` up? Try `fedi host check {host}`", self.client.endpoint())))
            }
            Class::Ambiguous | Class::Deadline | Class::Aborted | Class::Checksum => (DriverErrorKind::Unavailable, None),
            Class::Conflict(Conflict::Locked | Conflict::Digest) => (DriverErrorKind::Unavailable, None),
            Class::Quorum => (
                DriverErrorKind::Unavailable,
                Some("Nothing can be changed on a cluster without quorum; bring its other nodes back".to_owned()),
            ),
            Class::NoSpace => {
                (DriverErrorKind::Exhausted, Some(format!("Make room on `{host}`, or name another storage in host.toml")))
            }
            Class::Permission { .. } => {
                (DriverErrorKind::Denied, Some(format!("Run `fedi doctor {host}` for the commands that grant it")))
            }
            Class::Credentials => (
                DriverErrorKind::Denied,
                Some(format!("Is the token in `hypervisor.token` of hosts/{host}/host.toml whole, enabled and not expired?")),
            ),
            Class::Certificate { presented } => (
                DriverErrorKind::Denied,
                Some(match presented {
                    Some(presented) => format!(
                        "It shows {presented}; compare with `pvenode cert info` on the host before you put it into host.toml"
                    ),
                    None => format!("See `hypervisor.tls` in hosts/{host}/host.toml"),
                }),
            ),
            Class::Unsupported => (DriverErrorKind::Invalid, Some("fedi needs Proxmox VE 8.4 or newer".to_owned())),
            _ => (DriverErrorKind::Failed, None),
        };
        let mut made = DriverError::new(kind, what).because(error);
        if let Class::Permission { path, privilege } = error.class() {
            made.causes.push(lacks(&self.client.principal(), path.as_deref(), privilege.as_deref()));
        }
        for (parameter, text) in error.errors() {
            made.causes.push(format!("`{parameter}`: {}", text.trim_end()));
        }
        made.hint = hint;
        made
    }
}

fn lacks(token: &str, path: Option<&str>, privilege: Option<&str>) -> String {
    match (path, privilege) {
        (Some(path), Some(privilege)) => format!("Token `{token}` lacks `{privilege}` on `{path}`"),
        (None, Some(privilege)) => format!("Token `{token}` lacks `{privilege}`"),
        _ => format!("Token `{token}` lacks a right that Proxmox does not name"),
    }
}
